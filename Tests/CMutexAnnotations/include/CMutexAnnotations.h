// Nothing is called from outside: see CMutexAnnotations.c.
