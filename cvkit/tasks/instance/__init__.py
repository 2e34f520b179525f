"""Instance segmentation: object detection, and a mask per object."""
