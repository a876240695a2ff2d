"""Scans painted from label maps: healthy anatomies bent and aged, any contrast and acquisition, lesions over them.

What the anatomy model learns from. The idea is SynthSeg's (Billot et al., Medical Image Analysis 2023); lesions are
painted over the scan while the labels stay healthy, as in UNA (Liu et al. 2024).
"""
