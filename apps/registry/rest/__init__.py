"""The one DRF surface, /manage/: providers, models and keys, for operators' scripts. Imported on first use."""
