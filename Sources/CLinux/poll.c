#define _GNU_SOURCE
#include "floe_poll.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(floe_poll_event) == sizeof(struct epoll_event), "the kernel's layout");
_Static_assert(offsetof(floe_poll_event, token) == offsetof(struct epoll_event, data), "the kernel's layout");
_Static_assert(FLOE_POLL_IN == EPOLLIN && FLOE_POLL_OUT == EPOLLOUT && FLOE_POLL_ERROR == EPOLLERR, "the kernel's values");
_Static_assert(FLOE_POLL_HANG_UP == EPOLLHUP && FLOE_POLL_PEER_CLOSED == EPOLLRDHUP, "the kernel's values");

int floe_poll_create(void) {
    int descriptor = epoll_create1(EPOLL_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

static int control(int poll, int operation, int descriptor, uint32_t interest, uint64_t token) {
    struct epoll_event event = {.events = interest, .data = {.u64 = token}};
    return epoll_ctl(poll, operation, descriptor, &event) < 0 ? -errno : 0;
}

int floe_poll_add(int poll, int descriptor, uint32_t interest, uint64_t token) {
    return control(poll, EPOLL_CTL_ADD, descriptor, interest, token);
}

int floe_poll_modify(int poll, int descriptor, uint32_t interest, uint64_t token) {
    return control(poll, EPOLL_CTL_MOD, descriptor, interest, token);
}

int floe_poll_remove(int poll, int descriptor) { return control(poll, EPOLL_CTL_DEL, descriptor, 0, 0); }

int floe_poll_wait(int poll, floe_poll_event *events, int capacity, int64_t timeout_nanoseconds) {
    struct timespec timeout = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
    int count = epoll_pwait2(
        poll, (struct epoll_event *)events, capacity, timeout_nanoseconds < 0 ? NULL : &timeout, NULL);
    if (count < 0 && errno == ENOSYS) {
        // Kernels before 5.11 count in milliseconds: round up, or the loop would wake before the deadline and spin.
        int64_t milliseconds = timeout_nanoseconds < 0 ? -1 : (timeout_nanoseconds + 999999) / 1000000;
        if (milliseconds > 0x7FFFFFFF) milliseconds = 0x7FFFFFFF;
        count = epoll_wait(poll, (struct epoll_event *)events, capacity, (int)milliseconds);
    }
    if (count < 0) return errno == EINTR ? 0 : -errno;
    return count;
}

void floe_rest(int64_t nanoseconds) {
    // Timers of a thread are late by up to 50 microseconds unless it asks for better ones.
    static _Thread_local int is_exact;
    if (!is_exact) is_exact = prctl(PR_SET_TIMERSLACK, 1000ul) == 0;
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&time, NULL);
}

int floe_event_create(void) {
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

int floe_event_signal(int descriptor) {
    // A full counter (EAGAIN) is as readable as it can be.
    return eventfd_write(descriptor, 1) < 0 && errno != EAGAIN ? -errno : 0;
}

int floe_event_clear(int descriptor) {
    eventfd_t value;
    if (eventfd_read(descriptor, &value) == 0) return 1;
    return errno == EAGAIN ? 0 : -errno;
}

int floe_signals_create(int leaves_ignored) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t index = 0; index < sizeof numbers / sizeof *numbers; index++) {
        // A blocked signal is queued though it is ignored: only one that is not blocked stays without effect.
        struct sigaction present;
        if (sigaction(numbers[index], NULL, &present) < 0) return -errno;
        if (leaves_ignored && present.sa_handler == SIG_IGN) continue;
        sigaddset(&signals, numbers[index]);
    }
    int error = pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (error != 0) return -error;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) < 0) return -errno;
    int descriptor = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

int floe_signals_next(int descriptor) {
    struct signalfd_siginfo information;
    ssize_t count = read(descriptor, &information, sizeof information);
    if (count == sizeof information) return (int)information.ssi_signo;
    return count < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

uint64_t floe_monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t floe_unix_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec;
}
