// What the importer cannot take from OpenSSL's headers: macros, typed stacks, the low-level digests; and our own BIO.
#ifndef FLOE_COPENSSL_SHIM_H
#define FLOE_COPENSSL_SHIM_H

// The low-level digests are deprecated in favour of EVP, but only they let a keyed state be kept as plain bytes, and
// an HMAC over a short message takes an eighth of the time.
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/md5.h>
#include <openssl/pem.h>
#include <openssl/pemerr.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// MARK: Digests, one shot

static inline void floe_md5(const uint8_t *bytes, size_t count, uint8_t *digest) {
    MD5_CTX context;
    MD5_Init(&context);
    MD5_Update(&context, bytes, count);
    MD5_Final(digest, &context);
}

static inline void floe_sha1(const uint8_t *bytes, size_t count, uint8_t *digest) {
    SHA_CTX context;
    SHA1_Init(&context);
    SHA1_Update(&context, bytes, count);
    SHA1_Final(digest, &context);
}

static inline void floe_sha256(const uint8_t *bytes, size_t count, uint8_t *digest) {
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, bytes, count);
    SHA256_Final(digest, &context);
}

static inline void floe_sha512(const uint8_t *bytes, size_t count, uint8_t *digest) {
    SHA512_CTX context;
    SHA512_Init(&context);
    SHA512_Update(&context, bytes, count);
    SHA512_Final(digest, &context);
}

// MARK: HMAC (RFC 2104) with both keyed states kept: two blocks of work are saved for every message

typedef struct {
    uint32_t inner[8];
    uint32_t outer[8];
    int32_t isSHA256;
} floe_hmac_key;

// The keys of both hashes from the same bytes, without what either has no use for.
typedef struct {
    uint32_t sha1[2][5];
    uint32_t sha256[2][8];
} floe_hmac_keys;

typedef struct {
    union {
        SHA_CTX sha1;
        SHA256_CTX sha256;
    } digest;
    uint32_t outer[8];
    int32_t isSHA256;
} floe_hmac;

static inline void floe_sha1_resume(SHA_CTX *context, const uint32_t *state) {
    context->h0 = state[0];
    context->h1 = state[1];
    context->h2 = state[2];
    context->h3 = state[3];
    context->h4 = state[4];
    context->Nl = 8 * SHA_CBLOCK;  // one block was hashed
    context->Nh = 0;
    context->num = 0;
}

static inline void floe_sha256_resume(SHA256_CTX *context, const uint32_t *state) {
    memcpy(context->h, state, sizeof context->h);
    context->Nl = 8 * SHA256_CBLOCK;
    context->Nh = 0;
    context->num = 0;
    context->md_len = SHA256_DIGEST_LENGTH;
}

static inline void floe_hmac_pad(int isSHA256, const uint8_t *block, uint8_t pad, uint32_t *state) {
    uint8_t padded[64];
    for (int i = 0; i < 64; i++) padded[i] = block[i] ^ pad;
    if (isSHA256) {
        SHA256_CTX context;
        SHA256_Init(&context);
        SHA256_Transform(&context, padded);
        memcpy(state, context.h, sizeof context.h);
    } else {
        SHA_CTX context;
        SHA1_Init(&context);
        SHA1_Transform(&context, padded);
        const uint32_t words[8] = {context.h0, context.h1, context.h2, context.h3, context.h4};
        memcpy(state, words, sizeof words);
    }
    OPENSSL_cleanse(padded, sizeof padded);
}

static inline floe_hmac_key floe_hmac_key_make(int isSHA256, const uint8_t *key, size_t count) {
    floe_hmac_key made = {.isSHA256 = isSHA256};
    uint8_t block[64] = {0};
    if (count > sizeof block) {
        if (isSHA256) floe_sha256(key, count, block); else floe_sha1(key, count, block);
    } else if (count > 0) {
        memcpy(block, key, count);
    }
    floe_hmac_pad(isSHA256, block, 0x36, made.inner);
    floe_hmac_pad(isSHA256, block, 0x5c, made.outer);
    OPENSSL_cleanse(block, sizeof block);
    return made;
}

static inline floe_hmac_keys floe_hmac_keys_make(const uint8_t *key, size_t count) {
    const floe_hmac_key sha1 = floe_hmac_key_make(0, key, count), sha256 = floe_hmac_key_make(1, key, count);
    floe_hmac_keys made;
    memcpy(made.sha1[0], sha1.inner, sizeof made.sha1[0]);
    memcpy(made.sha1[1], sha1.outer, sizeof made.sha1[1]);
    memcpy(made.sha256[0], sha256.inner, sizeof made.sha256[0]);
    memcpy(made.sha256[1], sha256.outer, sizeof made.sha256[1]);
    return made;
}

static inline floe_hmac_key floe_hmac_keys_sha1(floe_hmac_keys keys) {
    floe_hmac_key key = {.isSHA256 = 0};
    memcpy(key.inner, keys.sha1[0], sizeof keys.sha1[0]);
    memcpy(key.outer, keys.sha1[1], sizeof keys.sha1[1]);
    return key;
}

static inline floe_hmac_key floe_hmac_keys_sha256(floe_hmac_keys keys) {
    floe_hmac_key key = {.isSHA256 = 1};
    memcpy(key.inner, keys.sha256[0], sizeof keys.sha256[0]);
    memcpy(key.outer, keys.sha256[1], sizeof keys.sha256[1]);
    return key;
}

static inline floe_hmac floe_hmac_begin(floe_hmac_key key) {
    floe_hmac context = {.isSHA256 = key.isSHA256};
    if (key.isSHA256) floe_sha256_resume(&context.digest.sha256, key.inner);
    else floe_sha1_resume(&context.digest.sha1, key.inner);
    memcpy(context.outer, key.outer, sizeof context.outer);
    return context;
}

static inline void floe_hmac_update(floe_hmac *context, const uint8_t *bytes, size_t count) {
    if (context->isSHA256) SHA256_Update(&context->digest.sha256, bytes, count);
    else SHA1_Update(&context->digest.sha1, bytes, count);
}

// `code` has room for 32 bytes with SHA-256, for 20 with SHA-1.
static inline void floe_hmac_finish(floe_hmac *context, uint8_t *code) {
    if (context->isSHA256) {
        SHA256_Final(code, &context->digest.sha256);
        floe_sha256_resume(&context->digest.sha256, context->outer);
        SHA256_Update(&context->digest.sha256, code, SHA256_DIGEST_LENGTH);
        SHA256_Final(code, &context->digest.sha256);
    } else {
        SHA1_Final(code, &context->digest.sha1);
        floe_sha1_resume(&context->digest.sha1, context->outer);
        SHA1_Update(&context->digest.sha1, code, SHA_DIGEST_LENGTH);
        SHA1_Final(code, &context->digest.sha1);
    }
}

// MARK: AES in Galois/counter mode (NIST SP 800-38D), one shot

// 1 if all went well; when opening, only if the tag of 16 bytes is right. `output` has room for `count` bytes.
static inline int floe_aes_gcm(
    int seals, const uint8_t *key, size_t keyCount, const uint8_t *nonce, const uint8_t *extra, size_t extraCount,
    const uint8_t *input, size_t count, uint8_t *output, uint8_t *tag
) {
    if (count > INT32_MAX || extraCount > INT32_MAX || (keyCount != 16 && keyCount != 32)) return 0;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (!context) return 0;
    const EVP_CIPHER *cipher = keyCount == 32 ? EVP_aes_256_gcm() : EVP_aes_128_gcm();
    uint8_t none;
    int written = 0;
    int done = EVP_CipherInit_ex(context, cipher, NULL, key, nonce, seals) == 1
        && EVP_CipherUpdate(context, NULL, &written, extraCount ? extra : &none, (int)extraCount) == 1
        && EVP_CipherUpdate(context, output, &written, input, (int)count) == 1
        && (seals || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, tag) == 1)
        && EVP_CipherFinal_ex(context, &none, &written) == 1
        && (!seals || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag) == 1);
    EVP_CIPHER_CTX_free(context);
    ERR_clear_error();
    return done;
}

// MARK: Certificates and keys

// OpenSSL asks on the terminal without this: a server must never wait for a person.
static inline int floe_refuse_password(char *buffer, int size, int writing, void *wasAsked) {
    *(int *)wasAsked = 1;
    return -1;
}

static inline EVP_PKEY *floe_read_private_key(BIO *source, int *wasEncrypted) {
    *wasEncrypted = 0;
    return PEM_read_bio_PrivateKey(source, NULL, floe_refuse_password, wasEncrypted);
}

static inline int floe_general_name_count(GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }

// The bytes of a dNSName or iPAddress, or NULL for another kind of name.
static inline const uint8_t *floe_general_name(GENERAL_NAMES *names, int index, int *isAddress, int *count) {
    int kind;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, index), &kind);
    if (kind != GEN_DNS && kind != GEN_IPADD) return NULL;
    *isAddress = kind == GEN_IPADD;
    *count = ASN1_STRING_length(value);
    return ASN1_STRING_get0_data(value);
}

static inline GENERAL_NAMES *floe_subject_alternative_names(X509 *certificate) {
    return (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}

static inline int floe_add_general_name(GENERAL_NAMES *names, int isAddress, const uint8_t *bytes, size_t count) {
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(isAddress ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (name && value && ASN1_STRING_set(value, bytes, (int)count)) {
        GENERAL_NAME_set0_value(name, isAddress ? GEN_IPADD : GEN_DNS, value);
        if (sk_GENERAL_NAME_push(names, name)) return 1;
        value = NULL;
    }
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    return 0;
}

static inline int floe_add_extension(X509 *certificate, int identifier, const char *text) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &context, identifier, text);
    int added = extension && X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return added;
}

static inline EVP_PKEY *floe_generate_p256(void) { return EVP_EC_gen("P-256"); }
static inline EVP_PKEY *floe_generate_rsa2048(void) { return EVP_RSA_gen(2048); }
static inline size_t floe_memory_bio(BIO *bio, char **bytes) { return (size_t)BIO_get_mem_data(bio, bytes); }

// MARK: TLS contexts

typedef struct {
    uint32_t count;
    uint8_t bytes[256];
} floe_protocols;

static inline int floe_select_protocol(
    SSL *session, const uint8_t **chosen, uint8_t *chosenCount, const uint8_t *offered, unsigned offeredCount,
    void *argument
) {
    const floe_protocols *served = (const floe_protocols *)argument;
    uint8_t *match;
    int found = SSL_select_next_proto(&match, chosenCount, served->bytes, served->count, offered, offeredCount);
    *chosen = match;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// `protocols` must live as long as the context.
static inline void floe_serve_protocols(SSL_CTX *context, floe_protocols *protocols) {
    SSL_CTX_set_alpn_select_cb(context, floe_select_protocol, protocols);
}

static inline void floe_set_server_name_callback(
    SSL_CTX *context, int (*callback)(SSL *, int *, void *), void *argument
) {
    SSL_CTX_set_tlsext_servername_callback(context, callback);
    SSL_CTX_set_tlsext_servername_arg(context, argument);
}

static inline int floe_configure(SSL_CTX *context, int minimum, int maximum) {
    SSL_CTX_set_options(
        context,
        SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA
    );
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_min_proto_version(context, minimum) && SSL_CTX_set_max_proto_version(context, maximum)
        && SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") && SSL_CTX_set_num_tickets(context, 1)
        && SSL_CTX_set_session_id_context(context, (const uint8_t *)"floe", 4) && SSL_CTX_set_dh_auto(context, 1);
}

static inline int floe_add_chain_certificate(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}

static inline int floe_set_server_name(SSL *session, const char *name) {
    return (int)SSL_set_tlsext_host_name(session, name);
}

static inline const char *floe_cipher_name(SSL_CTX *context, int index) {
    const STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(context);
    return index < sk_SSL_CIPHER_num(ciphers) ? SSL_CIPHER_standard_name(sk_SSL_CIPHER_value(ciphers, index)) : NULL;
}

// MARK: The BIO between a TLS session and its driver: two queues of bytes that give their memory back when empty

typedef struct {
    uint8_t *bytes;
    size_t start, end, capacity;
} floe_queue;

typedef struct {
    floe_queue input, output;
    size_t unasked;         // output since it was last empty that the application did not write
    size_t unaskedLimit;
    int isWriting;          // the application is writing
    int hasOverflowed;
} floe_channel;

static inline size_t floe_queue_count(const floe_queue *queue) { return queue->end - queue->start; }

static inline int floe_queue_append(floe_queue *queue, const uint8_t *bytes, size_t count) {
    if (count > queue->capacity - queue->end) {
        size_t kept = floe_queue_count(queue);
        if (kept > 0 && queue->start > 0) memmove(queue->bytes, queue->bytes + queue->start, kept);
        queue->start = 0;
        queue->end = kept;
        if (count > queue->capacity - kept) {
            size_t capacity = kept + count < 2 * queue->capacity ? 2 * queue->capacity : kept + count;
            uint8_t *grown = (uint8_t *)realloc(queue->bytes, capacity);
            if (!grown) return 0;
            queue->bytes = grown;
            queue->capacity = capacity;
        }
    }
    if (count > 0) memcpy(queue->bytes + queue->end, bytes, count);
    queue->end += count;
    return 1;
}

static inline size_t floe_queue_take(floe_queue *queue, uint8_t *bytes, size_t room) {
    size_t count = floe_queue_count(queue) < room ? floe_queue_count(queue) : room;
    if (count > 0) memcpy(bytes, queue->bytes + queue->start, count);
    queue->start += count;
    if (queue->start == queue->end) {
        queue->start = queue->end = 0;
        if (queue->capacity > 4096) {  // an idle connection holds no big buffer
            free(queue->bytes);
            queue->bytes = NULL;
            queue->capacity = 0;
        }
    }
    return count;
}

static inline void floe_queue_clear(floe_queue *queue) {
    free(queue->bytes);
    *queue = (floe_queue){0};
}

static inline size_t floe_channel_take(floe_channel *channel, uint8_t *bytes, size_t room) {
    size_t count = floe_queue_take(&channel->output, bytes, room);
    if (floe_queue_count(&channel->output) == 0) channel->unasked = 0;
    return count;
}

static inline int floe_bio_read(BIO *bio, char *bytes, int room) {
    floe_channel *channel = (floe_channel *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (floe_queue_count(&channel->input) == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    return (int)floe_queue_take(&channel->input, (uint8_t *)bytes, (size_t)room);
}

static inline int floe_bio_write(BIO *bio, const char *bytes, int count) {
    floe_channel *channel = (floe_channel *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!channel->isWriting) channel->unasked += (size_t)count;
    if (channel->unasked > channel->unaskedLimit
        || !floe_queue_append(&channel->output, (const uint8_t *)bytes, (size_t)count)) {
        channel->hasOverflowed = 1;
        return -1;
    }
    return count;
}

static inline long floe_bio_control(BIO *bio, int command, long number, void *pointer) {
    return command == BIO_CTRL_FLUSH;
}

static inline int floe_bio_destroy(BIO *bio) {
    floe_channel *channel = (floe_channel *)BIO_get_data(bio);
    if (channel) {
        floe_queue_clear(&channel->input);
        floe_queue_clear(&channel->output);
        free(channel);
    }
    return 1;
}

static inline BIO_METHOD *floe_bio_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "floe");
    if (method) {
        BIO_meth_set_read(method, floe_bio_read);
        BIO_meth_set_write(method, floe_bio_write);
        BIO_meth_set_ctrl(method, floe_bio_control);
        BIO_meth_set_destroy(method, floe_bio_destroy);
    }
    return method;
}

// Gives the session a channel, which lives and dies with it; NULL if there is no memory.
static inline floe_channel *floe_open_channel(SSL *session, const BIO_METHOD *method, size_t unaskedLimit) {
    floe_channel *channel = (floe_channel *)calloc(1, sizeof(floe_channel));
    BIO *bio = channel ? BIO_new(method) : NULL;
    if (!bio) {
        free(channel);
        return NULL;
    }
    channel->unaskedLimit = unaskedLimit;
    BIO_set_data(bio, channel);
    BIO_set_init(bio, 1);
    SSL_set_bio(session, bio, bio);
    return channel;
}

#include "datagram.h"

#endif
