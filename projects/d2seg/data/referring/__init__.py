"""Referring segmentation: expressions of users, each with the mask of what it means.

Nothing is imported here, so that ``datasets`` can take its readers from this folder.
"""
