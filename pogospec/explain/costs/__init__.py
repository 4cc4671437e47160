"""What a spec costs: operations, time, shapes and memory."""
