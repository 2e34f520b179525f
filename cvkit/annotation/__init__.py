"""Objects and classes of images as annotation programs store them, one module per format."""
