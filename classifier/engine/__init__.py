"""Running networks fast: devices and number formats, fused convolutions, CPU threads and GPU streams."""
