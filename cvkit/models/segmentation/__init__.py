"""Semantic segmentation architectures: FCN, U-Net, DeepLab, PSPNet."""
