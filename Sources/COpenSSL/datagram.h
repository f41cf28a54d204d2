// DTLS: the BIO between a session and its driver, in which every read and every write is one datagram.
#ifndef FLOE_COPENSSL_DATAGRAM_H
#define FLOE_COPENSSL_DATAGRAM_H

#include <sys/time.h>

typedef struct {
    const uint8_t *input;   // the datagram that is being received, NULL once it was read; the caller's, during a call
    size_t inputCount;
    uint8_t *sink;          // where application data is written; the caller's, during a call; else NULL
    size_t sinkRoom, sinkCount;
    floe_queue output;      // datagrams of handshakes and alerts, each behind its length in two bytes
    size_t outputLimit;
    struct timeval *timer;  // the session's own, see floe_datagram_control
    unsigned starts, stops; // how often the retransmission timer was started and stopped
    int isTiming;           // whether it runs
    int ownsTime;
} floe_datagram_channel;

static inline int floe_datagram_read(BIO *bio, char *bytes, int room) {
    floe_datagram_channel *channel = (floe_datagram_channel *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!channel->input) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t count = channel->inputCount < (size_t)room ? channel->inputCount : (size_t)room;
    memcpy(bytes, channel->input, count);
    channel->input = NULL;
    return (int)count;
}

// A datagram for which there is no room is lost, as others are on the way: DTLS sends again what matters.
static inline int floe_datagram_write(BIO *bio, const char *bytes, int count) {
    floe_datagram_channel *channel = (floe_datagram_channel *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t size = (size_t)count;
    if (channel->sink) {
        if (size > channel->sinkRoom - channel->sinkCount) return count;
        memcpy(channel->sink + channel->sinkCount, bytes, size);
        channel->sinkCount += size;
        return count;
    }
    if (size > UINT16_MAX || floe_queue_count(&channel->output) + size + 2 > channel->outputLimit) return count;
    uint8_t length[2] = {(uint8_t)(size >> 8), (uint8_t)size};
    if (!floe_queue_append(&channel->output, length, 2)) return -1;
    if (floe_queue_append(&channel->output, (const uint8_t *)bytes, size)) return count;
    channel->output.end -= 2;
    return -1;
}

// OpenSSL reads the time of day for its retransmissions, and shows us its timer, which is part of the session, each time
// that it changes. We move it out of the way and let it expire when the driver's clock says so. From 3.2 on what is shown
// is a copy: then OpenSSL's clock and ours, which have the same steps, run side by side.
static inline long floe_datagram_control(BIO *bio, int command, long number, void *pointer) {
    floe_datagram_channel *channel = (floe_datagram_channel *)BIO_get_data(bio);
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command != BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT) return 0;
    struct timeval *timer = (struct timeval *)pointer;
    channel->isTiming = timer->tv_sec != 0 || timer->tv_usec != 0;
    if (channel->isTiming) channel->starts++; else channel->stops++;
    if (channel->ownsTime) {
        channel->timer = timer;
        if (channel->isTiming) timer->tv_sec += 1 << 30;
    }
    return 1;
}

static inline int floe_datagram_destroy(BIO *bio) {
    floe_datagram_channel *channel = (floe_datagram_channel *)BIO_get_data(bio);
    if (channel) {
        floe_queue_clear(&channel->output);
        free(channel);
    }
    return 1;
}

static inline BIO_METHOD *floe_datagram_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "floe datagrams");
    if (method) {
        BIO_meth_set_read(method, floe_datagram_read);
        BIO_meth_set_write(method, floe_datagram_write);
        BIO_meth_set_ctrl(method, floe_datagram_control);
        BIO_meth_set_destroy(method, floe_datagram_destroy);
    }
    return method;
}

// Whoever is asked has verified the cookie himself, before there was a session.
static inline int floe_accept_cookie(SSL *session, const unsigned char *cookie, unsigned count) { return 1; }

// What datagrams need beyond floe_configure. No tickets: a handshake must be small, and associations live long.
static inline void floe_configure_datagrams(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET);
    SSL_CTX_set_cookie_verify_cb(context, floe_accept_cookie);
}

// Gives the session a channel, which lives and dies with it; NULL if there is no memory.
static inline floe_datagram_channel *floe_open_datagrams(
    SSL *session, const BIO_METHOD *method, long maximumDatagram, int isServer, size_t outputLimit
) {
    floe_datagram_channel *channel = (floe_datagram_channel *)calloc(1, sizeof(floe_datagram_channel));
    BIO *bio = channel ? BIO_new(method) : NULL;
    if (!bio) {
        free(channel);
        return NULL;
    }
    channel->outputLimit = outputLimit;
    channel->ownsTime = OpenSSL_version_num() < 0x30200000UL;
    BIO_set_data(bio, channel);
    BIO_set_init(bio, 1);
    SSL_set_bio(session, bio, bio);
    SSL_set_mtu(session, maximumDatagram);
    // Each message of which a peer has sent a part gets memory for all of it: clients have no certificates to send here.
    if (isServer) SSL_set_max_cert_list(session, 4096);
    return channel;
}

// Takes the first record of a ClientHello whose cookie was verified; 1 if it is one.
static inline int floe_listen(SSL *session) {
    BIO_ADDR *address = BIO_ADDR_new();
    int result = address ? DTLSv1_listen(session, address) : -1;
    BIO_ADDR_free(address);
    return result;
}

// Sends the last flight again; negative if OpenSSL gives up.
static inline int floe_retransmit(SSL *session, floe_datagram_channel *channel) {
    if (channel->ownsTime && channel->timer && channel->isTiming) {
        channel->timer->tv_sec = 1;
        channel->timer->tv_usec = 0;
    }
    return (int)DTLSv1_handle_timeout(session);
}

// How many bytes the next datagram has, 0 if there is none.
static inline size_t floe_next_datagram(const floe_datagram_channel *channel) {
    if (floe_queue_count(&channel->output) < 2) return 0;
    const uint8_t *length = channel->output.bytes + channel->output.start;
    return (size_t)length[0] << 8 | length[1];
}

// Takes the next datagram; `bytes` has room for it.
static inline void floe_take_datagram(floe_datagram_channel *channel, uint8_t *bytes) {
    size_t count = floe_next_datagram(channel);
    uint8_t length[2];
    floe_queue_take(&channel->output, length, 2);
    floe_queue_take(&channel->output, bytes, count);
    if (floe_queue_count(&channel->output) == 0) floe_queue_clear(&channel->output);
}

#endif
