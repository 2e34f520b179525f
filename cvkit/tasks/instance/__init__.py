"""Instance segmentation: object detection with a mask per object."""
