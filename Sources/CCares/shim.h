// A resolver whose sockets hide behind one epoll descriptor, and whose answers are flat records: what a loop of ours wants
// of c-ares, without callbacks that would have to enter Swift.
#ifndef FLOE_CCARES_SHIM_H
#define FLOE_CCARES_SHIM_H

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { FLOE_DNS_RECORDS = 16 };

typedef struct {
    uint8_t address[16];  // of A, the first four
    uint16_t first;       // priority of SRV, order of NAPTR
    uint16_t second;      // weight, preference
    uint16_t port;
    char name[256];       // target, replacement
    char flags[16];
    char service[256];
} floe_dns_record;

typedef struct floe_dns_result {
    struct floe_dns_result *next;
    uint64_t token;
    int kind;    // the type of record that was asked for
    int status;  // of c-ares
    int count;
    floe_dns_record records[FLOE_DNS_RECORDS];
} floe_dns_result;

typedef struct {
    ares_channel channel;
    int poll;
    floe_dns_result *first, *last;
} floe_dns;

typedef struct {
    floe_dns *owner;
    floe_dns_result *result;
} floe_dns_question;

// c-ares tells which sockets it has: the poller inside has the same ones.
static inline void floe_dns_socket_changed(void *data, ares_socket_t socket, int reads, int writes) {
    floe_dns *dns = (floe_dns *)data;
    struct epoll_event event = {0};
    event.events = (reads ? EPOLLIN : 0u) | (writes ? EPOLLOUT : 0u);
    event.data.fd = socket;
    if (!reads && !writes) {
        epoll_ctl(dns->poll, EPOLL_CTL_DEL, socket, &event);
    } else if (epoll_ctl(dns->poll, EPOLL_CTL_MOD, socket, &event) < 0) {
        epoll_ctl(dns->poll, EPOLL_CTL_ADD, socket, &event);
    }
}

static inline void floe_dns_close(floe_dns *dns) {
    if (dns->channel) ares_destroy(dns->channel);  // ends all questions: their results come to the list
    for (floe_dns_result *next; dns->first; dns->first = next) {
        next = dns->first->next;
        free(dns->first);
    }
    if (dns->poll >= 0) close(dns->poll);
    free(dns);
}

// `servers` as c-ares has it, "address:port,…", or NULL for the system's; returns an error number, 0 for none.
static inline int floe_dns_open(floe_dns **opened, const char *servers, int timeout_milliseconds, int tries) {
    floe_dns *dns = (floe_dns *)calloc(1, sizeof(floe_dns));
    if (!dns) return ENOMEM;
    dns->poll = epoll_create1(EPOLL_CLOEXEC);
    int number = dns->poll < 0 ? errno : 0;
    struct ares_options options;
    memset(&options, 0, sizeof options);
    options.timeout = timeout_milliseconds;
    options.tries = tries;
    options.sock_state_cb = floe_dns_socket_changed;
    options.sock_state_cb_data = dns;
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    if (!number && ares_init_options(&dns->channel, &options, mask) != ARES_SUCCESS) {
        dns->channel = NULL;
        number = EIO;
    }
    if (!number && servers && ares_set_servers_ports_csv(dns->channel, servers) != ARES_SUCCESS) number = EINVAL;
    if (number) {
        floe_dns_close(dns);
        return number;
    }
    *opened = dns;
    return 0;
}

static inline void floe_dns_finish(floe_dns_question *question, int status) {
    floe_dns *dns = question->owner;
    floe_dns_result *result = question->result;
    result->status = status;
    if (dns->last && dns->first) dns->last->next = result;
    else dns->first = result;
    dns->last = result;
    free(question);
}

static inline void floe_dns_copy(char *target, size_t room, const char *text) {
    size_t count = text ? strlen(text) : 0;
    // A text without room is none: half a name would be another name.
    if (count >= room) count = 0;
    if (count) memcpy(target, text, count);
    target[count] = 0;
}

static inline void floe_dns_addresses(void *data, int status, int timeouts, struct ares_addrinfo *info) {
    floe_dns_question *question = (floe_dns_question *)data;
    floe_dns_result *result = question->result;
    for (struct ares_addrinfo_node *node = info ? info->nodes : NULL; node; node = node->ai_next) {
        if (result->count == FLOE_DNS_RECORDS) break;
        floe_dns_record *record = &result->records[result->count];
        if (result->kind == ns_t_a && node->ai_family == AF_INET) {
            memcpy(record->address, &((struct sockaddr_in *)node->ai_addr)->sin_addr, 4);
        } else if (result->kind == ns_t_aaaa && node->ai_family == AF_INET6) {
            memcpy(record->address, &((struct sockaddr_in6 *)node->ai_addr)->sin6_addr, 16);
        } else {
            continue;
        }
        result->count++;
    }
    ares_freeaddrinfo(info);
    floe_dns_finish(question, status);
}

static inline int floe_dns_services(floe_dns_result *result, const unsigned char *bytes, int count) {
    struct ares_srv_reply *list = NULL;
    int status = ares_parse_srv_reply(bytes, count, &list);
    for (struct ares_srv_reply *each = list; each && result->count < FLOE_DNS_RECORDS; each = each->next) {
        floe_dns_record *record = &result->records[result->count++];
        record->first = each->priority;
        record->second = each->weight;
        record->port = each->port;
        floe_dns_copy(record->name, sizeof record->name, each->host);
    }
    if (list) ares_free_data(list);
    return status;
}

static inline int floe_dns_pointers(floe_dns_result *result, const unsigned char *bytes, int count) {
    struct ares_naptr_reply *list = NULL;
    int status = ares_parse_naptr_reply(bytes, count, &list);
    for (struct ares_naptr_reply *each = list; each && result->count < FLOE_DNS_RECORDS; each = each->next) {
        // S-NAPTR has no regular expressions (RFC 3958 §2.2.1).
        if (each->regexp && each->regexp[0]) continue;
        floe_dns_record *record = &result->records[result->count++];
        record->first = each->order;
        record->second = each->preference;
        floe_dns_copy(record->name, sizeof record->name, each->replacement);
        floe_dns_copy(record->flags, sizeof record->flags, (const char *)each->flags);
        floe_dns_copy(record->service, sizeof record->service, (const char *)each->service);
    }
    if (list) ares_free_data(list);
    return status;
}

static inline void floe_dns_answered(void *data, int status, int timeouts, unsigned char *bytes, int count) {
    floe_dns_question *question = (floe_dns_question *)data;
    if (status == ARES_SUCCESS) {
        status = question->result->kind == ns_t_srv ? floe_dns_services(question->result, bytes, count)
                                                    : floe_dns_pointers(question->result, bytes, count);
    }
    floe_dns_finish(question, status);
}

// Asks; the answer may be there when the call returns. Returns 0 without memory.
static inline int floe_dns_ask(floe_dns *dns, uint64_t token, const char *name, int kind) {
    floe_dns_question *question = (floe_dns_question *)calloc(1, sizeof(floe_dns_question));
    floe_dns_result *result = (floe_dns_result *)calloc(1, sizeof(floe_dns_result));
    if (!question || !result) {
        free(question);
        free(result);
        return 0;
    }
    result->token = token;
    result->kind = kind;
    question->owner = dns;
    question->result = result;
    if (kind == ns_t_a || kind == ns_t_aaaa) {
        struct ares_addrinfo_hints hints;
        memset(&hints, 0, sizeof hints);
        hints.ai_flags = ARES_AI_NOSORT;
        hints.ai_family = kind == ns_t_a ? AF_INET : AF_INET6;
        ares_getaddrinfo(dns->channel, name, NULL, &hints, floe_dns_addresses, question);
    } else {
        ares_query(dns->channel, name, ns_c_in, kind, floe_dns_answered, question);
    }
    return 1;
}

// Copies the domains in which the system looks for names, with a space behind each, as far as there is room.
static inline void floe_dns_domains(floe_dns *dns, char *text, size_t room) {
    struct ares_options options;
    int mask = 0;
    memset(&options, 0, sizeof options);
    text[0] = 0;
    if (ares_save_options(dns->channel, &options, &mask) == ARES_SUCCESS && (mask & ARES_OPT_DOMAINS)) {
        size_t used = 0;
        for (int index = 0; index < options.ndomains; index++) {
            size_t count = strlen(options.domains[index]);
            if (count + 2 > room - used) break;
            memcpy(text + used, options.domains[index], count);
            used += count;
            text[used++] = ' ';
            text[used] = 0;
        }
    }
    ares_destroy_options(&options);
}

// Does what the sockets and the clock ask for.
static inline void floe_dns_process(floe_dns *dns) {
    struct epoll_event events[16];
    int count = epoll_wait(dns->poll, events, 16, 0);
    for (int index = 0; index < count; index++) {
        ares_socket_t socket = events[index].data.fd;
        uint32_t ready = events[index].events;
        ares_process_fd(
            dns->channel, ready & (EPOLLIN | EPOLLERR | EPOLLHUP) ? socket : ARES_SOCKET_BAD,
            ready & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? socket : ARES_SOCKET_BAD
        );
    }
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

// Nanoseconds until `floe_dns_process` must be called, -1 if nothing waits.
static inline int64_t floe_dns_timeout(floe_dns *dns) {
    struct timeval room;
    struct timeval *next = ares_timeout(dns->channel, NULL, &room);
    return next ? (int64_t)next->tv_sec * 1000000000 + (int64_t)next->tv_usec * 1000 : -1;
}

// Takes the oldest answer, which the caller gives back with `free`; NULL if there is none.
static inline floe_dns_result *floe_dns_take(floe_dns *dns) {
    floe_dns_result *result = dns->first;
    if (!result) return NULL;
    dns->first = result->next;
    if (!dns->first) dns->last = NULL;
    return result;
}

#endif
