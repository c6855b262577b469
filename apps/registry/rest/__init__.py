"""The one DRF surface, /manage/: providers, models, keys and usage, for operators' scripts. Imported on first use."""
