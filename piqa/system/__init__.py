"""Files, devices, processes and text: nothing about images."""
