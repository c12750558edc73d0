"""Annotations of other tools: LabelMe, YOLO, Pascal VOC, CVAT, Supervisely.

A module for each has ``TITLE``, ``recognises`` (a folder) and ``read``; what they give is the same
(:mod:`.content`) and becomes a declared data set (:mod:`.writing`).
"""
