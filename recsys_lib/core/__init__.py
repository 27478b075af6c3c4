"""What everything else stands on: errors, paths, atomic files, saved objects, memory guards,
quiet model loading.
"""
