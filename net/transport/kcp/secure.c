#include "transport/kcp/secure.h"

#include <fairway/error.h>
#include <openssl/crypto.h>
#include <string.h>
#include <uv.h>

#include "base/bytes.h"
#include "base/random.h"
#include "transport/kcp/secure_keys.h"

#define VERSION    1
#define FLAG_KNOWN 1 /* the client knows the server's key, and wants proof of it */

/* Places in HELLO, RETRY and ACCEPT. */
enum {
    HELLO_FLAGS = 2,
    HELLO_EPH = FWI_KCPS_HELLO_NAME,
    HELLO_TIME = 40,
    HELLO_COOKIE = 48,
    HELLO_MAC = 112,
    REPLY_NAME = 8,
    REPLY_NAME_BYTES = 8,
    RETRY_TIME = 16,
    RETRY_COOKIE = 24,
    ACCEPT_ID = 16,
    ACCEPT_EPH = 24,
    ACCEPT_TAG = 56
};

/* Keys and IVs of a session, as they come out of HKDF. */
struct schedule {
    uint8_t to_server[FWI_KCPS_KEY_BYTES], to_client[FWI_KCPS_KEY_BYTES];
    uint8_t accept[FWI_KCPS_KEY_BYTES];
    uint8_t to_server_iv[FWI_KCPS_IV_BYTES], to_client_iv[FWI_KCPS_IV_BYTES];
};

/* ---- datagrams of a session ---- */

static void make_nonce(const uint8_t *iv, uint64_t seq, uint8_t ret_nonce[FWI_KCPS_IV_BYTES])
{
    uint8_t number[8];
    fwi_put_u64le(number, seq);
    memcpy(ret_nonce, iv, FWI_KCPS_IV_BYTES);
    for (size_t i = 0; i < sizeof number; i++)
        ret_nonce[4 + i] ^= number[i];
}

size_t fwi_kcps_seal(fwi_kcps *session, uint8_t kind, const uint8_t *data, size_t len,
                     uint8_t *ret_out)
{
    if (session->send_seq == UINT64_MAX)
        return 0;
    uint8_t nonce[FWI_KCPS_IV_BYTES];
    ret_out[0] = FWI_KCPS_DATA;
    fwi_put_u64le(ret_out + 1, session->id);
    fwi_put_u64le(ret_out + 9, ++session->send_seq);
    make_nonce(session->send_iv, session->send_seq, nonce);
    if (!fwi_kcps_encrypt(session->send_key, nonce, ret_out, FWI_KCPS_DATA_BYTES, kind, data, len,
                          ret_out + FWI_KCPS_DATA_BYTES))
        return 0;
    return len + FWI_KCPS_OVERHEAD_BYTES;
}

bool fwi_kcps_id(const uint8_t *data, size_t len, uint64_t *ret_id)
{
    if (len < FWI_KCPS_OVERHEAD_BYTES || data[0] != FWI_KCPS_DATA)
        return false;
    *ret_id = fwi_get_u64le(data + 1);
    return true;
}

static bool was_seen(const fwi_kcps *session, uint64_t seq)
{
    if (seq > session->recv_top)
        return false;
    if (session->recv_top - seq >= FWI_KCPS_WINDOW)
        return true; /* too old to know */
    uint64_t at = seq % FWI_KCPS_WINDOW;
    return session->recv_seen[at / 64] >> (at % 64) & 1;
}

static void note_seen(fwi_kcps *session, uint64_t seq)
{
    if (seq > session->recv_top) {
        uint64_t passed = seq - session->recv_top;
        if (passed >= FWI_KCPS_WINDOW)
            memset(session->recv_seen, 0, sizeof session->recv_seen);
        else
            for (uint64_t n = session->recv_top + 1; n <= seq; n++)
                session->recv_seen[n % FWI_KCPS_WINDOW / 64] &= ~(UINT64_C(1) << (n % 64));
        session->recv_top = seq;
    }
    session->recv_seen[seq % FWI_KCPS_WINDOW / 64] |= UINT64_C(1) << (seq % 64);
}

int fwi_kcps_open(fwi_kcps *session, uint8_t *data, size_t len, uint8_t *ret_kind,
                  uint8_t **ret_data, size_t *ret_len, bool *ret_newest)
{
    uint64_t id;
    if (!fwi_kcps_id(data, len, &id) || id != session->id)
        return FW_EAUTH;
    uint64_t seq = fwi_get_u64le(data + 9);
    if (!seq || was_seen(session, seq))
        return FW_EAUTH;
    uint8_t nonce[FWI_KCPS_IV_BYTES];
    make_nonce(session->recv_iv, seq, nonce);
    if (!fwi_kcps_decrypt(session->recv_key, nonce, data, FWI_KCPS_DATA_BYTES,
                          data + FWI_KCPS_DATA_BYTES, len - FWI_KCPS_DATA_BYTES))
        return FW_EAUTH;
    *ret_newest = seq > session->recv_top;
    note_seen(session, seq); /* only what was authentic moves the window */
    *ret_kind = data[FWI_KCPS_DATA_BYTES];
    *ret_data = data + FWI_KCPS_DATA_BYTES + 1;
    *ret_len = len - FWI_KCPS_OVERHEAD_BYTES;
    return FW_OK;
}

/* ---- what both sides of the handshake compute ---- */

/* The key of HELLO's mac: who has not the secrets gets no answer. */
static bool hello_key(const fwi_kcps_secrets *secrets, bool known, uint8_t *ret_key)
{
    static const char label[] = "fairway kcp hello 1";
    static const uint8_t none[FWI_KCPS_KEY_BYTES] = {0};
    fwi_kcps_part parts[] = {
        {label, sizeof label},
        {secrets->has_psk ? secrets->psk : none, FWI_KCPS_KEY_BYTES},
        {known ? secrets->server_public : none, FWI_KCPS_KEY_BYTES},
    };
    return fwi_kcps_hash(parts, 3, ret_key);
}

static bool hello_mac(const fwi_kcps_secrets *secrets, const uint8_t *hello,
                      uint8_t ret_mac[FWI_KCPS_TAG_BYTES])
{
    uint8_t key[FWI_KCPS_HASH_BYTES];
    return hello_key(secrets, hello[HELLO_FLAGS] & FLAG_KNOWN, key) &&
           fwi_kcps_mac(key, hello, HELLO_MAC, ret_mac);
}

/* Everything that both have seen goes into the salt, so whoever changes a byte changes the keys. */
static bool derive(const fwi_kcps_secrets *secrets, const uint8_t *ephemeral_shared,
                   const uint8_t *static_shared, const uint8_t *hello, const uint8_t *accept,
                   struct schedule *ret_schedule)
{
    static const char label[] = "fairway kcp 1";
    uint8_t secret[3 * FWI_KCPS_KEY_BYTES] = {0}, salt[FWI_KCPS_HASH_BYTES];
    fwi_kcps_part parts[] = {
        {label, sizeof label}, {hello, FWI_KCPS_HELLO_BYTES}, {accept, ACCEPT_TAG}};
    memcpy(secret, ephemeral_shared, FWI_KCPS_KEY_BYTES);
    if (static_shared)
        memcpy(secret + FWI_KCPS_KEY_BYTES, static_shared, FWI_KCPS_KEY_BYTES);
    if (secrets->has_psk)
        memcpy(secret + sizeof secret - FWI_KCPS_KEY_BYTES, secrets->psk, FWI_KCPS_KEY_BYTES);
    bool ok = fwi_kcps_hash(parts, 3, salt) &&
              fwi_kcps_expand(secret, sizeof secret, salt, "session", (uint8_t *)ret_schedule,
                              sizeof *ret_schedule);
    fwi_kcps_wipe(secret, sizeof secret);
    return ok;
}

static bool accept_tag(const struct schedule *schedule, const uint8_t *accept,
                       uint8_t ret_tag[FWI_KCPS_TAG_BYTES])
{
    return fwi_kcps_mac(schedule->accept, accept, ACCEPT_TAG, ret_tag);
}

static void fill_session(const struct schedule *schedule, bool is_client, uint64_t id,
                         fwi_kcps *ret_session)
{
    *ret_session = (fwi_kcps){.id = id};
    memcpy(ret_session->send_key, is_client ? schedule->to_server : schedule->to_client,
           FWI_KCPS_KEY_BYTES);
    memcpy(ret_session->recv_key, is_client ? schedule->to_client : schedule->to_server,
           FWI_KCPS_KEY_BYTES);
    memcpy(ret_session->send_iv, is_client ? schedule->to_server_iv : schedule->to_client_iv,
           FWI_KCPS_IV_BYTES);
    memcpy(ret_session->recv_iv, is_client ? schedule->to_client_iv : schedule->to_server_iv,
           FWI_KCPS_IV_BYTES);
}

/* ---- client ---- */

int fwi_kcps_client_init(fwi_kcps_client *client, const fwi_kcps_secrets *secrets)
{
    *client = (fwi_kcps_client){.secrets = secrets};
    client->hello[0] = FWI_KCPS_HELLO;
    client->hello[1] = VERSION;
    client->hello[HELLO_FLAGS] = secrets->has_server_key ? FLAG_KNOWN : 0;
    if (!fwi_kcps_make_pair(client->private_key, client->hello + HELLO_EPH) ||
        !hello_mac(secrets, client->hello, client->hello + HELLO_MAC))
        return FW_EAUTH;
    return FW_OK;
}

static bool is_reply(const fwi_kcps_client *client, const uint8_t *data, size_t len, uint8_t type,
                     size_t wanted_len)
{
    return len == wanted_len && data[0] == type && data[1] == VERSION &&
           !memcmp(data + REPLY_NAME, client->hello + HELLO_EPH, REPLY_NAME_BYTES);
}

bool fwi_kcps_client_retry(fwi_kcps_client *client, const uint8_t *data, size_t len)
{
    if (!is_reply(client, data, len, FWI_KCPS_RETRY, FWI_KCPS_RETRY_BYTES))
        return false;
    memcpy(client->hello + HELLO_TIME, data + RETRY_TIME, 8);
    memcpy(client->hello + HELLO_COOKIE, data + RETRY_COOKIE, FWI_KCPS_TAG_BYTES);
    client->has_cookie = true;
    return hello_mac(client->secrets, client->hello, client->hello + HELLO_MAC);
}

int fwi_kcps_client_accept(fwi_kcps_client *client, const uint8_t *data, size_t len,
                           fwi_kcps *ret_session)
{
    if (!is_reply(client, data, len, FWI_KCPS_ACCEPT, FWI_KCPS_ACCEPT_BYTES) || !client->has_cookie)
        return UV_EINVAL;
    const fwi_kcps_secrets *secrets = client->secrets;
    struct schedule schedule;
    uint8_t ee[FWI_KCPS_KEY_BYTES], es[FWI_KCPS_KEY_BYTES], tag[FWI_KCPS_TAG_BYTES];
    bool ok =
        fwi_kcps_agree(client->private_key, data + ACCEPT_EPH, ee) &&
        (!secrets->has_server_key ||
         fwi_kcps_agree(client->private_key, secrets->server_public, es)) &&
        derive(secrets, ee, secrets->has_server_key ? es : NULL, client->hello, data, &schedule) &&
        accept_tag(&schedule, data, tag) && !CRYPTO_memcmp(tag, data + ACCEPT_TAG, sizeof tag);
    if (ok)
        fill_session(&schedule, true, fwi_get_u64le(data + ACCEPT_ID), ret_session);
    fwi_kcps_wipe(&schedule, sizeof schedule);
    fwi_kcps_wipe(ee, sizeof ee);
    fwi_kcps_wipe(es, sizeof es);
    return ok ? FW_OK : FW_EAUTH;
}

/* ---- server ---- */

int fwi_kcps_server_init(fwi_kcps_server *server, const fwi_kcps_secrets *secrets)
{
    *server = (fwi_kcps_server){.secrets = secrets};
    return fwi_random_secret(server->cookie_key, sizeof server->cookie_key);
}

/* A cookie proves that its sender got it at that address, for that attempt, a short time ago. */
static bool make_cookie(const fwi_kcps_server *server, const void *address, size_t address_len,
                        const uint8_t *hello, uint64_t time_ms, uint8_t *ret_cookie)
{
    uint8_t bytes[FWI_KCPS_HASH_BYTES], time[8];
    fwi_put_u64le(time, time_ms);
    fwi_kcps_part parts[] = {
        {address, address_len}, {hello + HELLO_EPH, FWI_KCPS_HELLO_NAME_BYTES}, {time, 8}};
    return fwi_kcps_hash(parts, 3, bytes) &&
           fwi_kcps_mac(server->cookie_key, bytes, sizeof bytes, ret_cookie);
}

fwi_kcps_greeting fwi_kcps_server_hello(const fwi_kcps_server *server, uint64_t now_ms,
                                        const void *address, size_t address_len,
                                        const uint8_t *data, size_t len,
                                        uint8_t ret_reply[FWI_KCPS_RETRY_BYTES])
{
    uint8_t mac[FWI_KCPS_TAG_BYTES], cookie[FWI_KCPS_TAG_BYTES];
    if (len != FWI_KCPS_HELLO_BYTES || data[0] != FWI_KCPS_HELLO || data[1] != VERSION ||
        (data[HELLO_FLAGS] & FLAG_KNOWN && !server->secrets->has_server_key) ||
        !hello_mac(server->secrets, data, mac) || CRYPTO_memcmp(mac, data + HELLO_MAC, sizeof mac))
        return FWI_KCPS_DROP;
    uint64_t time_ms = fwi_get_u64le(data + HELLO_TIME);
    if (time_ms <= now_ms && now_ms - time_ms <= FWI_KCPS_COOKIE_MS &&
        make_cookie(server, address, address_len, data, time_ms, cookie) &&
        !CRYPTO_memcmp(cookie, data + HELLO_COOKIE, sizeof cookie))
        return FWI_KCPS_WELCOME;
    memset(ret_reply, 0, FWI_KCPS_RETRY_BYTES);
    ret_reply[0] = FWI_KCPS_RETRY;
    ret_reply[1] = VERSION;
    memcpy(ret_reply + REPLY_NAME, data + HELLO_EPH, REPLY_NAME_BYTES);
    fwi_put_u64le(ret_reply + RETRY_TIME, now_ms);
    if (!make_cookie(server, address, address_len, data, now_ms, ret_reply + RETRY_COOKIE))
        return FWI_KCPS_DROP;
    return FWI_KCPS_SEND;
}

int fwi_kcps_server_accept(const fwi_kcps_server *server, const uint8_t *hello, uint64_t id,
                           fwi_kcps *ret_session, uint8_t ret_accept[FWI_KCPS_ACCEPT_BYTES])
{
    const fwi_kcps_secrets *secrets = server->secrets;
    bool known = hello[HELLO_FLAGS] & FLAG_KNOWN;
    struct schedule schedule;
    uint8_t private_key[FWI_KCPS_KEY_BYTES], ee[FWI_KCPS_KEY_BYTES], es[FWI_KCPS_KEY_BYTES];
    memset(ret_accept, 0, FWI_KCPS_ACCEPT_BYTES);
    ret_accept[0] = FWI_KCPS_ACCEPT;
    ret_accept[1] = VERSION;
    memcpy(ret_accept + REPLY_NAME, hello + HELLO_EPH, REPLY_NAME_BYTES);
    fwi_put_u64le(ret_accept + ACCEPT_ID, id);
    bool ok = fwi_kcps_make_pair(private_key, ret_accept + ACCEPT_EPH) &&
              fwi_kcps_agree(private_key, hello + HELLO_EPH, ee) &&
              (!known || fwi_kcps_agree(secrets->server_private, hello + HELLO_EPH, es)) &&
              derive(secrets, ee, known ? es : NULL, hello, ret_accept, &schedule) &&
              accept_tag(&schedule, ret_accept, ret_accept + ACCEPT_TAG);
    if (ok)
        fill_session(&schedule, false, id, ret_session);
    fwi_kcps_wipe(&schedule, sizeof schedule);
    fwi_kcps_wipe(private_key, sizeof private_key);
    fwi_kcps_wipe(ee, sizeof ee);
    fwi_kcps_wipe(es, sizeof es);
    return ok ? FW_OK : FW_EAUTH;
}
