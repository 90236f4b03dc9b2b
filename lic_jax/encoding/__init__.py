"""What a sender may spend time on beyond the analysis.

rate_control   streams of a given size or quality
"""
