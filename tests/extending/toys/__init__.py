"""A backbone, a decoder, a one-stage detector and a task that are not part of cvkit."""
