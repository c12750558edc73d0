"""Prediction over folders: what is to be done, in parts that survive the process."""
