"""What goes out: files and drawings."""
