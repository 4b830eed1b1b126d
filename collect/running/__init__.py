"""Does many jobs, in this process or in Ray workers, and leaves nothing behind however the jobs end."""
