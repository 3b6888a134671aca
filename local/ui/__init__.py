"""`algodock ui`: a local web page of jobs and tunings, with what they print, and endpoints to try."""
