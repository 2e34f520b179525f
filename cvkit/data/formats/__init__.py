"""How datasets lie on the disk: one file per format."""
