"""Reading and writing of media files. The only importer of `av`; never imports torch at module level."""
