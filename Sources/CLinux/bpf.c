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

enum { MAP_CREATE = 0, MAP_GET = 1, MAP_SET = 2, PROGRAM_LOAD = 5, PROGRAM_RUN = 10, MAP_TAKE = 21, LINK_CREATE = 28 };
enum { MAP_TYPE_HASH = 1, MAP_TYPE_ARRAY = 2, MAP_TYPE_SOCKETS = 15, NO_PREALLOCATION = 1, MAPPABLE = 1024 };
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

int floe_bpf_create_map(uint32_t key_length, uint32_t value_length, uint32_t capacity) {
    return create_map(MAP_TYPE_HASH, key_length, value_length, capacity, NO_PREALLOCATION);
}

int floe_bpf_create_array(uint32_t capacity) {
    return create_map(MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(uint64_t), capacity, 0);
}

int floe_bpf_create_mapped_array(uint32_t capacity, uint64_t **elements) {
    int map = create_map(MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(uint64_t), capacity, MAPPABLE);
    if (map < 0) return map;
    void *memory = mmap(NULL, capacity * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (memory == MAP_FAILED) {
        int error = errno;
        close(map);
        return -error;
    }
    *elements = memory;
    return map;
}

void floe_bpf_unmap(uint64_t *elements, uint32_t capacity) { munmap(elements, capacity * sizeof(uint64_t)); }

int floe_bpf_claim(uint64_t *element, uint64_t value) {
    uint64_t nothing = 0;
    return __atomic_compare_exchange_n(element, &nothing, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

void floe_bpf_release(uint64_t *element) { __atomic_store_n(element, 0, __ATOMIC_RELEASE); }

int floe_bpf_create_socket_map(uint32_t capacity) {
    return create_map(MAP_TYPE_SOCKETS, sizeof(uint32_t), sizeof(uint32_t), capacity, 0);
}

static int on_element(int command, int map, const void *key, const void *value) {
    bpf_arguments arguments = {0};
    arguments.element.map = (uint32_t)map;
    arguments.element.key = (uintptr_t)key;
    arguments.element.value = (uintptr_t)value;
    return bpf(command, &arguments, sizeof arguments.element);
}

int floe_bpf_set(int map, const void *key, const void *value) { return on_element(MAP_SET, map, key, value); }
int floe_bpf_get(int map, const void *key, void *value) { return on_element(MAP_GET, map, key, value); }
int floe_bpf_take(int map, const void *key, void *value) { return on_element(MAP_TAKE, map, key, value); }

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
    int program, uint32_t interface, const uint8_t *packet, uint32_t length, uint8_t *out, uint32_t *out_length) {
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
    return (int)arguments.run.verdict;
}
