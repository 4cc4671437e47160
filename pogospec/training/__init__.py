"""The loop on the device, and what happens on the host between its chunks."""
