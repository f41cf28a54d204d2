#ifndef FLOE_MESSAGE_H
#define FLOE_MESSAGE_H

#include "floe_datagram.h"

#include <netinet/in.h>
#include <sys/socket.h>

/// Room for one packet information or one address with port, one traffic class and one hop limit, of either family, and the
/// size of segments.
enum { MESSAGE_CONTROL_BYTES = CMSG_SPACE(sizeof(struct sockaddr_in6)) + 4 * CMSG_SPACE(sizeof(int)) };

/// Takes what the control messages of a received datagram tell.
void message_read_controls(struct msghdr *message, floe_datagram *datagram);

#endif
