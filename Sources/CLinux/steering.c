#define _GNU_SOURCE
#include "floe_socket.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

// The kernel's loads with such an offset begin at the IP header; those without, at the UDP payload.
#define IP_HEADER(offset) ((uint32_t)(SKF_NET_OFF + (offset)))

// Of every STUN message since RFC 5389.
#define STUN_COOKIE 0x2112A442u

typedef struct {
    struct sock_filter code[64];
    unsigned short count;
    uint64_t seed;
} steering;

static void add(steering *program, uint16_t code, uint32_t operand) {
    program->code[program->count++] = (struct sock_filter)BPF_STMT(code, operand);
}

static void jump(steering *program, uint16_t code, uint32_t operand, uint8_t yes, uint8_t no) {
    program->code[program->count++] = (struct sock_filter)BPF_JUMP(code, operand, yes, no);
}

// An odd factor that nobody can guess.
static uint32_t next_factor(steering *program) {
    uint64_t value = program->seed += 0x9E3779B97F4A7C15u;
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
    value = (value ^ value >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(value ^ value >> 31) | 1;
}

// Mixes A, and keeps it as the hash in M[0].
static void mix(steering *program) {
    add(program, BPF_ALU | BPF_MUL | BPF_K, next_factor(program));
    add(program, BPF_MISC | BPF_TAX, 0);
    add(program, BPF_ALU | BPF_RSH | BPF_K, 15);
    add(program, BPF_ALU | BPF_XOR | BPF_X, 0);
    add(program, BPF_ST, 0);
}

// Mixes a word of the IP header into the hash.
static void mix_word(steering *program, int offset) {
    add(program, BPF_LD | BPF_W | BPF_ABS, IP_HEADER(offset));
    add(program, BPF_LDX | BPF_MEM, 0);
    add(program, BPF_ALU | BPF_ADD | BPF_X, 0);
    mix(program);
}

int floe_steer(int descriptor, int family, uint32_t threads, uint64_t seed) {
    if (threads == 0) return -EINVAL;
    steering program = {.count = 0, .seed = seed};
    // The port of the source. Behind extension headers of IPv6 it is something else, which a flow keeps as well.
    if (family == 4) {
        add(&program, BPF_LDX | BPF_B | BPF_MSH, IP_HEADER(0));
        add(&program, BPF_LD | BPF_H | BPF_IND, IP_HEADER(0));
    } else {
        add(&program, BPF_LD | BPF_H | BPF_ABS, IP_HEADER(40));
    }
    mix(&program);
    int first = family == 4 ? 12 : 8, last = family == 4 ? 12 : 20;
    for (int offset = first; offset <= last; offset += 4) mix_word(&program, offset);
    // Each thread has three sockets.
    add(&program, BPF_ALU | BPF_MOD | BPF_K, threads);
    add(&program, BPF_ALU | BPF_MUL | BPF_K, 3);
    add(&program, BPF_ST, 1);
    // A load behind the end would choose the first socket of all.
    add(&program, BPF_LD | BPF_W | BPF_LEN, 0);
    jump(&program, BPF_JMP | BPF_JGE | BPF_K, 8, 0, 13);
    add(&program, BPF_LD | BPF_H | BPF_ABS, 0);
    jump(&program, BPF_JMP | BPF_JGE | BPF_K, FLOE_STEER_DATA, 11, 0);
    jump(&program, BPF_JMP | BPF_JGE | BPF_K, FLOE_STEER_HANDSHAKE, 4, 0);
    add(&program, BPF_LD | BPF_W | BPF_ABS, 4);
    jump(&program, BPF_JMP | BPF_JEQ | BPF_K, STUN_COOKIE, 0, 8);
    add(&program, BPF_LD | BPF_H | BPF_ABS, 0);
    jump(&program, BPF_JMP | BPF_JEQ | BPF_K, FLOE_STEER_SEND, 3, 0);
    add(&program, BPF_LD | BPF_MEM, 1);
    add(&program, BPF_ALU | BPF_ADD | BPF_K, 1);
    add(&program, BPF_RET | BPF_A, 0);
    add(&program, BPF_LD | BPF_MEM, 1);
    add(&program, BPF_ALU | BPF_ADD | BPF_K, 2);
    add(&program, BPF_RET | BPF_A, 0);
    add(&program, BPF_LD | BPF_MEM, 1);
    add(&program, BPF_RET | BPF_A, 0);
    struct sock_fprog attached = {.len = program.count, .filter = program.code};
    int result = setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached);
    return result < 0 ? -errno : 0;
}
