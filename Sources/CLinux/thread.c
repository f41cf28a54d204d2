#define _GNU_SOURCE
#include "floe_thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(sizeof(pthread_t) <= sizeof(uint64_t), "a thread's name fits");

/// What a new thread needs to begin: it names itself before it runs anything, and frees this.
typedef struct beginning {
    floe_thread_entry entry;
    void *context;
    char name[16];
} beginning;

static void *begin(void *argument) {
    beginning copy = *(beginning *)argument;
    free(argument);
    pthread_setname_np(pthread_self(), copy.name);
    return copy.entry(copy.context);
}

int floe_thread_start(uint64_t *thread, const char *name, int processor, floe_thread_entry entry, void *context) {
    beginning *argument = malloc(sizeof *argument);
    if (!argument) return -ENOMEM;
    argument->entry = entry;
    argument->context = context;
    snprintf(argument->name, sizeof argument->name, "%s", name);
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        free(argument);
        return -error;
    }
    if (processor >= CPU_SETSIZE) error = EINVAL;
    if (error == 0 && processor >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(processor, &set);
        error = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    pthread_t started;
    if (error == 0) error = pthread_create(&started, &attributes, begin, argument);
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        free(argument);
        return -error;
    }
    *thread = (uint64_t)started;
    return 0;
}

int floe_thread_join(uint64_t thread) { return -pthread_join((pthread_t)thread, NULL); }

int floe_thread_detach(uint64_t thread) { return -pthread_detach((pthread_t)thread); }

int floe_thread_name(char *name) { return -pthread_getname_np(pthread_self(), name, 16); }

int floe_thread_processor(void) { return sched_getcpu(); }

int floe_thread_processors(int *numbers, int capacity) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return -errno;
    int count = 0;
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        if (!CPU_ISSET(processor, &set)) continue;
        if (count < capacity) numbers[count] = processor;
        count++;
    }
    return count;
}

int floe_thread_raise(int signal) { return -pthread_kill(pthread_self(), signal); }

uint8_t *floe_thread_scratch(void) {
    static _Thread_local uint8_t scratch[FLOE_SCRATCH_BYTES];
    return scratch;
}
