// What Linux offers and Swift's Glibc module does not: epoll, io_uring, event and signal descriptors, batches of datagrams
// with control messages, socket options, threads, interfaces.
//
// No system header is included here: structures that depend on _GNU_SOURCE would break every importer. Kernel structures
// stay in the .c files; what crosses the border are the flat structures declared in these headers. Every function
// returns a negative errno when it fails, so that nobody reads a thread's errno too late.

#ifndef FLOE_CLINUX_H
#define FLOE_CLINUX_H

#include "floe_address.h"
#include "floe_bpf.h"
#include "floe_datagram.h"
#include "floe_poll.h"
#include "floe_ring.h"
#include "floe_socket.h"
#include "floe_thread.h"

#endif
