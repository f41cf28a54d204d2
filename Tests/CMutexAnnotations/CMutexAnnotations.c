// Tells the thread sanitizer of a `Mutex` that waits: that half of it is in a library which was not built for the sanitizer,
// and without its acquire and release two threads that meet there look as if nothing kept them apart. The linker prefers
// the program's functions of these names to the library's, which they call.
#define _GNU_SOURCE
#include "CMutexAnnotations.h"

#if defined(__has_feature) && __has_feature(thread_sanitizer)
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern void __tsan_acquire(void *address);
extern void __tsan_release(void *address);

#define MUTEX_HANDLE "$s15Synchronization12_MutexHandleV"
#define LOCK MUTEX_HANDLE "9_lockSlowyys6UInt32VF"
#define TRY_LOCK MUTEX_HANDLE "12_tryLockSlowSbyF"
#define UNLOCK MUTEX_HANDLE "11_unlockSlowyyF"
#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *self

static SWIFT void (*library_lock)(uint32_t thread, SELF);
static SWIFT bool (*library_try_lock)(SELF);
static SWIFT void (*library_unlock)(SELF);

SWIFT void mutex_lock(uint32_t thread, SELF) __asm__(LOCK);
SWIFT bool mutex_try_lock(SELF) __asm__(TRY_LOCK);
SWIFT void mutex_unlock(SELF) __asm__(UNLOCK);

static void *find(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (!function) {
        fprintf(stderr, "Swift's library has no %s any more: see %s\n", name, __FILE__);
        abort();
    }
    return function;
}

__attribute__((constructor)) static void find_all(void) {
    library_lock = find(LOCK);
    library_try_lock = find(TRY_LOCK);
    library_unlock = find(UNLOCK);
}

SWIFT void mutex_lock(uint32_t thread, SELF) {
    library_lock(thread, self);
    __tsan_acquire(self);
}

SWIFT bool mutex_try_lock(SELF) {
    bool taken = library_try_lock(self);
    if (taken) __tsan_acquire(self);
    return taken;
}

SWIFT void mutex_unlock(SELF) {
    __tsan_release(self);
    library_unlock(self);
}
#endif
