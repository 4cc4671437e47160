"""Films of policies: the same episodes of behaviour and steps, side by side.

play        what the environments of several policies look like, step by step
picture     panels with their labels and returns in one picture
renderers   which of MuJoCo's ways to draw without a screen works on this machine
render      all of it in its order
"""
