"""`make chaos`: retrainings that are killed, run out of disk and lose their stores, resumed, judged, and recorded."""
