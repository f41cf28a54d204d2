#define _GNU_SOURCE
#include "floe_bpf.h"

#include "kernel_address.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// The kernel's union of arguments, as far as it is used here; the headers of Debian 12 are older than TCX. What is not
// set must be 0.
typedef union bpf_arguments {
    struct {
        uint32_t type, key_length, value_length, capacity, flags;
    } map;
    struct {
        uint32_t map;
        _Alignas(8) uint64_t key;
        uint64_t value, flags;
    } element;
    struct {
        uint32_t type, count;
        uint64_t instructions, license;
        uint32_t log_level, log_length;
        uint64_t log;
        uint32_t kernel_version, flags;
        char name[16];
        uint32_t interface, attach_type;
    } program;
    struct {
        // An interface's number, or a descriptor of a network namespace.
        uint32_t program, target, attach_type, flags;
    } link;
    struct {
        uint32_t program, verdict, length, out_length;
        uint64_t packet, out;
        uint32_t repeat, duration, context_length, context_out_length;
        uint64_t context, context_out;
    } run;
    uint8_t all[256];
} bpf_arguments;

enum { MAP_CREATE = 0, MAP_SET = 2, MAP_REMOVE = 3, PROGRAM_LOAD = 5, PROGRAM_RUN = 10, LINK_CREATE = 28 };
enum { MAP_TYPE_HASH = 1, MAP_TYPE_ARRAY = 2, MAP_TYPE_SOCKETS = 15 };
enum { NO_PREALLOCATION = 1, CAN_BE_MAPPED = 1 << 10, ONLY_NEW = 1 };
enum { SOCKET_LOOKUP = 36, TCX_INGRESS = 46, ATTACH_TO_SOCKET = 50 };

static int bpf(int command, bpf_arguments *arguments, size_t length) {
    long result = syscall(SYS_bpf, command, arguments, length);
    return result < 0 ? -errno : (int)result;
}

static int create_map(uint32_t type, uint32_t key_length, uint32_t value_length, uint32_t capacity, uint32_t flags) {
    bpf_arguments arguments = {0};
    arguments.map.type = type;
    arguments.map.key_length = key_length;
    arguments.map.value_length = value_length;
    arguments.map.capacity = capacity;
    arguments.map.flags = flags;
    return bpf(MAP_CREATE, &arguments, sizeof arguments.map);
}

int floe_bpf_create_map(uint32_t key_length, uint32_t capacity) {
    return create_map(MAP_TYPE_HASH, key_length, sizeof(uint64_t), capacity, NO_PREALLOCATION);
}

int floe_bpf_create_array(uint32_t value_length, uint32_t capacity) {
    return create_map(MAP_TYPE_ARRAY, sizeof(uint32_t), value_length, capacity, CAN_BE_MAPPED);
}

int floe_bpf_map(int array, size_t length, void **memory) {
    *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, array, 0);
    return *memory == MAP_FAILED ? -errno : 0;
}

void floe_bpf_unmap(void *memory, size_t length) { munmap(memory, length); }

int floe_bpf_claim(uint64_t *element, uint64_t value) {
    uint64_t nothing = 0;
    return __atomic_compare_exchange_n(element, &nothing, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

void floe_bpf_release(uint64_t *element) { __atomic_store_n(element, 0, __ATOMIC_RELEASE); }

int floe_bpf_create_socket_map(uint32_t capacity) {
    return create_map(MAP_TYPE_SOCKETS, sizeof(uint32_t), sizeof(uint32_t), capacity, 0);
}

static int on_element(int command, int map, const void *key, const void *value, uint64_t flags) {
    bpf_arguments arguments = {0};
    arguments.element.map = (uint32_t)map;
    arguments.element.key = (uintptr_t)key;
    arguments.element.value = (uintptr_t)value;
    arguments.element.flags = flags;
    return bpf(command, &arguments, sizeof arguments.element);
}

int floe_bpf_add(int map, const void *key, uint64_t value) { return on_element(MAP_SET, map, key, &value, ONLY_NEW); }
int floe_bpf_set(int map, const void *key, const void *value) { return on_element(MAP_SET, map, key, value, 0); }
int floe_bpf_remove(int map, const void *key) { return on_element(MAP_REMOVE, map, key, NULL, 0); }

// The program reads the number last. Who has seen anything of what is written here sees that the number is not what it was.
void floe_relay_open(floe_relay_flow *place, const floe_relay_flow *values) {
    __atomic_store_n(&place->number, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    uint64_t *to = (uint64_t *)place;
    const uint64_t *from = (const uint64_t *)values;
    const size_t first = offsetof(floe_relay_flow, expires) / 8, end = offsetof(floe_relay_flow, packets) / 8;
    for (size_t word = first; word < end; word++) __atomic_store_n(&to[word], from[word], __ATOMIC_RELAXED);
    __atomic_store_n(&place->number, values->number, __ATOMIC_RELEASE);
}

void floe_relay_close(floe_relay_flow *place) { __atomic_store_n(&place->number, 0, __ATOMIC_RELEASE); }

void floe_relay_set_end(floe_relay_flow *place, uint64_t expires) {
    __atomic_store_n(&place->expires, expires, __ATOMIC_RELEASE);
}

void floe_relay_counts(const floe_relay_flow *place, uint64_t *packets, uint64_t *bytes) {
    *packets = __atomic_load_n(&place->packets, __ATOMIC_RELAXED);
    *bytes = __atomic_load_n(&place->bytes, __ATOMIC_RELAXED);
}

void floe_relay_grant(floe_relay_allowance *place, uint64_t granted) {
    __atomic_store_n(&place->granted, granted, __ATOMIC_RELEASE);
}

uint64_t floe_relay_spent(const floe_relay_allowance *place) { return __atomic_load_n(&place->spent, __ATOMIC_RELAXED); }

int floe_bpf_load(
    floe_bpf_kind kind, const uint64_t *instructions, uint32_t count, char *log, uint32_t log_length) {
    bpf_arguments arguments = {0};
    arguments.program.type = kind;
    if (kind == FLOE_BPF_LOOKUP) arguments.program.attach_type = SOCKET_LOOKUP;
    arguments.program.count = count;
    arguments.program.instructions = (uintptr_t)instructions;
    arguments.program.license = (uintptr_t)"Apache-2.0";
    arguments.program.log_level = log_length ? 1 : 0;
    arguments.program.log_length = log_length;
    arguments.program.log = (uintptr_t)(log_length ? log : NULL);
    // A signal to this process ends the verifier's work, which then wants to be asked again.
    int result = -EAGAIN;
    for (int attempt = 0; attempt < 8 && result == -EAGAIN; attempt++)
        result = bpf(PROGRAM_LOAD, &arguments, sizeof arguments.program);
    return result;
}

int floe_bpf_attach(int program, uint32_t interface) {
    bpf_arguments arguments = {0};
    arguments.link.program = (uint32_t)program;
    arguments.link.target = interface;
    arguments.link.attach_type = TCX_INGRESS;
    return bpf(LINK_CREATE, &arguments, sizeof arguments.link);
}

int floe_bpf_attach_lookup(int program) {
    int namespace = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (namespace < 0) return -errno;
    bpf_arguments arguments = {0};
    arguments.link.program = (uint32_t)program;
    arguments.link.target = (uint32_t)namespace;
    arguments.link.attach_type = SOCKET_LOOKUP;
    int result = bpf(LINK_CREATE, &arguments, sizeof arguments.link);
    close(namespace);
    return result;
}

int floe_bpf_attach_filter(int program, int descriptor) {
    return setsockopt(descriptor, SOL_SOCKET, ATTACH_TO_SOCKET, &program, sizeof program) < 0 ? -errno : 0;
}

int floe_bpf_run(
    int program, uint32_t interface, const uint8_t *packet, uint32_t length, uint8_t *out, uint32_t *out_length,
    uint32_t *verdict) {
    // The kernel's struct __sk_buff: the interface is its eleventh field.
    uint32_t context[48] = {0};
    context[10] = interface;
    bpf_arguments arguments = {0};
    arguments.run.program = (uint32_t)program;
    arguments.run.length = length;
    arguments.run.out_length = *out_length;
    arguments.run.packet = (uintptr_t)packet;
    arguments.run.out = (uintptr_t)out;
    arguments.run.context = (uintptr_t)context;
    arguments.run.context_length = sizeof context;
    int result = bpf(PROGRAM_RUN, &arguments, sizeof arguments.run);
    if (result < 0) return result;
    *out_length = arguments.run.out_length;
    *verdict = arguments.run.verdict;
    return 0;
}
