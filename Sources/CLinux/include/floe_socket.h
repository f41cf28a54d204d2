#ifndef FLOE_SOCKET_H
#define FLOE_SOCKET_H

#include "floe_address.h"

#include <stddef.h>
#include <stdint.h>

/// All sockets are non-blocking and closed on exec. `family` is 4 or 6.
int floe_udp_create(int family);
int floe_tcp_create(int family);
/// Ends a TCP connection at once with RST; what waits in it is lost. The descriptor stays open.
void floe_tcp_reset(int descriptor);
/// A raw socket that gets copies of ICMP errors: those of which RFC 8656 tells clients. Needs CAP_NET_RAW.
int floe_icmp_create(int family);
int floe_close(int descriptor);

int floe_bind(int descriptor, int family, const floe_address *address);
/// Binds the socket to an interface, joins a group there, and sends with 255 hops; call it before floe_bind.
int floe_join_group(int descriptor, int family, uint32_t interface, const floe_address *group);
int floe_listen(int descriptor, int backlog);
/// Returns the new socket and fills `peer`; a negative errno otherwise.
int floe_accept(int listener, floe_address *peer);
/// Returns 0 when connected or under way.
int floe_connect(int descriptor, int family, const floe_address *address);
int floe_local_address(int descriptor, floe_address *address);
/// -ENOTCONN while a connection is not established.
int floe_peer_address(int descriptor, floe_address *address);
/// Takes the pending error of a socket: 0 or a negative errno.
int floe_take_error(int descriptor);

/// Never raises SIGPIPE.
int64_t floe_stream_send(int descriptor, const uint8_t *bytes, size_t count);
/// 0 at the end of the stream.
int64_t floe_stream_receive(int descriptor, uint8_t *bytes, size_t capacity);
/// As floe_stream_receive, but the bytes stay where they are.
int64_t floe_stream_peek(int descriptor, uint8_t *bytes, size_t capacity);
/// No more is sent; the peer reads the end of the stream.
int floe_stream_finish(int descriptor);

typedef enum floe_option : int {
    FLOE_OPTION_REUSE_ADDRESS,
    FLOE_OPTION_REUSE_PORT,
    FLOE_OPTION_IPV6_ONLY,
    /// Bind to an address that the host does not have yet.
    FLOE_OPTION_FREE_BIND,
    /// Report and choose the local address of each datagram.
    FLOE_OPTION_PACKET_INFORMATION,
    /// Report the local address and port that each datagram was sent to.
    FLOE_OPTION_ORIGINAL_DESTINATION,
    /// Report the traffic class (and with it the ECN bits) of each datagram.
    FLOE_OPTION_RECEIVE_TRAFFIC_CLASS,
    FLOE_OPTION_TRAFFIC_CLASS,
    /// Report the TTL or hop limit of each datagram.
    FLOE_OPTION_RECEIVE_HOP_LIMIT,
    /// Queue ICMP errors on the socket; off by default, so that one peer's error is no other peer's.
    FLOE_OPTION_RECEIVE_ERRORS,
    /// One of the FLOE_PATH_MTU values.
    FLOE_OPTION_PATH_MTU,
    FLOE_OPTION_RECEIVE_BUFFER,
    FLOE_OPTION_SEND_BUFFER,
    FLOE_OPTION_NO_DELAY,
    FLOE_OPTION_KEEP_ALIVE,
    FLOE_OPTION_KEEP_ALIVE_IDLE_SECONDS,
    FLOE_OPTION_KEEP_ALIVE_INTERVAL_SECONDS,
    FLOE_OPTION_KEEP_ALIVE_PROBES,
    /// How long sent data may stay unacknowledged before the connection fails.
    FLOE_OPTION_USER_TIMEOUT_MILLISECONDS,
    /// Only so much unsent data makes the socket unwritable.
    FLOE_OPTION_UNSENT_LOW_WATER,
    /// Merge equal datagrams of one flow on reception; needs buffers of 64 KiB.
    FLOE_OPTION_MERGE_RECEIVED,
    /// Cut what is sent into segments of this size.
    FLOE_OPTION_SEGMENT_SENT,
    /// The TTL or hop limit of what is sent; -1 is the system's.
    FLOE_OPTION_HOP_LIMIT,
} floe_option;

/// Values of FLOE_OPTION_PATH_MTU: 0 fragments (DF clear), 1 is the system's default, 2 sets DF and obeys the known path
/// MTU, 3 sets DF and ignores it.
enum { FLOE_PATH_MTU_FRAGMENT = 0, FLOE_PATH_MTU_DEFAULT = 1, FLOE_PATH_MTU_OBEY = 2, FLOE_PATH_MTU_PROBE = 3 };

/// `family` is that of the socket.
int floe_set_option(int descriptor, int family, floe_option option, int value);
/// Returns the value, or a negative errno.
int floe_get_option(int descriptor, int family, floe_option option);

/// The first two bytes of a UDP payload from which on it is data: ChannelData, and records of DTLS with data in them; and
/// those from which on it is a DTLS handshake. Below are STUN messages, if they have the magic cookie; else it is noise. Of
/// these, one is a Send indication.
enum { FLOE_STEER_SEND = 0x0016, FLOE_STEER_HANDSHAKE = 0x1400, FLOE_STEER_DATA = 0x1700 };

/// Has the kernel choose among the UDP sockets that share the port of this one, which is bound: by the client's address
/// one of so many threads, by the first bytes one of the thread's three sockets. Sockets count in the order in which they
/// were bound, of each thread the one for data, that for requests and that for Send indications; what is not there yet is
/// chosen by the kernel. Needs no capability.
int floe_steer(int descriptor, int family, uint32_t threads, uint64_t seed);

/// How many datagrams the kernel has dropped for this socket, nearly always for lack of room in its receive buffer; or a
/// negative errno.
int64_t floe_dropped_datagrams(int descriptor);

/// The text for an errno, with a final 0, cut to `capacity`.
void floe_error_text(int error, char *text, size_t capacity);

/// Opens /dev/null: a descriptor held in reserve for the day when there are no more.
int floe_open_reserve(void);

#endif
