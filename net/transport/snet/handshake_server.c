/*
 *     (8 bytes) -> flavour -> new | resume -> [fastway: proof] -> verdict
 *
 * Which flavour it is shows in the first bytes, because our session ids never end in the bytes that
 * fastway begins with (id_is_usable): 00 and then seven bytes that are not all zero is a new
 * session of fastway's (a public key of which only the last byte is not zero does not happen), 00
 * and seven zeros one of uniway's; ff is fastway's reconnection; all else is an id of uniway's.
 */
#include <fairway/error.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/snet/handshake.h"
#include "transport/snet/wire.h"

#define TELLING_BYTES 8 /* that tell the flavour */

void fwi_snet_server_init(fwi_snet_server *server, const fwi_snet_server_config *config)
{
    *server = (fwi_snet_server){.config = config, .flavour = config->flavour};
}

static bool id_is_usable(const fwi_snet_server *server, uint64_t id)
{
    uint8_t last = (uint8_t)id;
    return id && last != FASTWAY_NEW && last != FASTWAY_RESUME &&
           !server->config->find(id, server->config->arg);
}

/* Ids are random: a small one would tell the keystream that it is enciphered with. */
static int choose_id(fwi_snet_server *server)
{
    do {
        int err = server->config->random(&server->id, sizeof server->id);
        if (err)
            return err;
    } while (!id_is_usable(server, server->id));
    return FW_OK;
}

static int choose_challenge(fwi_snet_server *server)
{
    do { /* with counts of zero, eight zeros would be a refusal */
        int err = server->config->random(server->challenge, sizeof server->challenge);
        if (err)
            return err;
    } while (!fwi_get_u64le(server->challenge));
    return FW_OK;
}

/* Waits for the proof (fastway), or is done. */
static int answered(fwi_snet_server *server, fwi_snet_verdict verdict)
{
    if (server->flavour == FWI_SNET_UNIWAY)
        return (int)verdict;
    server->in.len = 0;
    server->proving = true;
    server->wanted = FWI_SNET_PROOF_BYTES;
    return FWI_SNET_MORE;
}

static int answer_new(fwi_snet_server *server, uint64_t client_public, fwi_snet_bytes *ret_out)
{
    uint64_t private_key, public_key = 0;
    do {
        int err = server->config->random(&private_key, sizeof private_key);
        if (!err)
            err = fwi_snet_public_key(private_key, &public_key);
        if (err)
            return err;
    } while (public_key <= 1);
    int err = fwi_snet_secret(private_key, client_public, &server->secret);
    fwi_snet_cleanse(&private_key, sizeof private_key);
    if (!err)
        err = choose_id(server);
    if (!err && server->flavour == FWI_SNET_FASTWAY)
        err = choose_challenge(server);
    if (err)
        return err;
    uint8_t key[FWI_SNET_KEY_BYTES], id[8];
    fwi_put_u64le(key, server->secret);
    fwi_put_u64le(id, server->id);
    fwi_rc4 rc4;
    fwi_rc4_init(&rc4, key, sizeof key);
    fwi_put_u64le(ret_out->data, public_key);
    fwi_rc4_apply(&rc4, id, sizeof id, ret_out->data + 8);
    memcpy(ret_out->data + 16, server->challenge, CHALLENGE_BYTES);
    ret_out->len = server->flavour == FWI_SNET_UNIWAY ? UNIWAY_ANSWER_BYTES : FASTWAY_ANSWER_BYTES;
    return answered(server, FWI_SNET_NEW);
}

/* Checks a reconnection as a whole, before anything happens to the session. */
static int check_resume(fwi_snet_server *server, const uint8_t *fields,
                        const fwi_snet_stream **ret_stream)
{
    uint8_t proof[FWI_SNET_PROOF_BYTES];
    server->id = fwi_get_u64le(fields);
    const fwi_snet_stream *stream = server->config->find(server->id, server->config->arg);
    if (!stream)
        return FW_EREFUSED;
    int err = fwi_snet_proof(fields, COUNTS_BYTES, stream->key, proof);
    if (err)
        return err;
    if (!fwi_snet_proofs_equal(proof, fields + COUNTS_BYTES))
        return FW_EAUTH;
    stream = server->config->settle(server->id, server->config->arg);
    server->peer_read = fwi_get_u64le(fields + 16);
    if (!stream || fwi_snet_stream_check(stream, fwi_get_u64le(fields + 8), server->peer_read))
        return FW_EREFUSED;
    *ret_stream = stream;
    return FW_OK;
}

static int answer_resume(fwi_snet_server *server, const uint8_t *fields, fwi_snet_bytes *ret_out)
{
    const fwi_snet_stream *stream;
    bool is_fastway = server->flavour == FWI_SNET_FASTWAY;
    server->resuming = true;
    int err = check_resume(server, fields, &stream);
    if (!err && is_fastway)
        err = choose_challenge(server);
    if (err) {
        ret_out->len = is_fastway ? FASTWAY_ANSWER_BYTES : 0; /* zeros */
        return err;
    }
    server->told_read = stream->read;
    fwi_put_u64le(ret_out->data, stream->written);
    fwi_put_u64le(ret_out->data + 8, stream->read);
    memcpy(ret_out->data + 16, server->challenge, CHALLENGE_BYTES);
    ret_out->len = is_fastway ? FASTWAY_ANSWER_BYTES : UNIWAY_ANSWER_BYTES;
    return answered(server, FWI_SNET_RESUMED);
}

/* The old link may have gone on meanwhile, or the session may have ended. */
static int check_proof(fwi_snet_server *server)
{
    uint8_t key[FWI_SNET_KEY_BYTES], proof[FWI_SNET_PROOF_BYTES];
    const fwi_snet_stream *stream = server->config->find(server->id, server->config->arg);
    if (server->resuming != (stream != NULL))
        return FW_EREFUSED;
    if (stream)
        memcpy(key, stream->key, sizeof key);
    else
        fwi_put_u64le(key, server->secret);
    int err = fwi_snet_proof(server->challenge, CHALLENGE_BYTES, key, proof);
    if (err)
        return err;
    if (!fwi_snet_proofs_equal(proof, server->in.data))
        return FW_EAUTH;
    if (!stream)
        return FWI_SNET_NEW;
    stream = server->config->settle(server->id, server->config->arg);
    /* What it has written was checked before, against less. */
    if (!stream || fwi_snet_stream_check(stream, stream->read, server->peer_read))
        return FW_EREFUSED;
    return FWI_SNET_RESUMED;
}

static bool bytes_are_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i])
            return false;
    return true;
}

/* What the first bytes say: the flavour, and how many bytes the request has. */
static int tell(fwi_snet_server *server)
{
    const uint8_t *in = server->in.data;
    if (server->flavour == FWI_SNET_AUTO) {
        if (in[0] == FASTWAY_RESUME)
            server->flavour = FWI_SNET_FASTWAY;
        else if (in[0] == FASTWAY_NEW && !bytes_are_zero(in, TELLING_BYTES))
            server->flavour = FWI_SNET_FASTWAY;
        else
            server->flavour = FWI_SNET_UNIWAY;
    }
    if (server->flavour == FWI_SNET_UNIWAY)
        server->wanted = UNIWAY_OPENING_BYTES;
    else if (in[0] == FASTWAY_NEW)
        server->wanted = FASTWAY_NEW_BYTES;
    else if (in[0] == FASTWAY_RESUME)
        server->wanted = 1 + RESUME_BYTES;
    else
        return FW_EPROTOCOL;
    return FWI_SNET_MORE;
}

static int step(fwi_snet_server *server, fwi_snet_bytes *ret_out)
{
    const uint8_t *in = server->in.data;
    if (server->proving)
        return check_proof(server);
    if (!server->wanted)
        return tell(server);
    if (server->flavour == FWI_SNET_FASTWAY)
        return in[0] == FASTWAY_NEW ? answer_new(server, fwi_get_u64le(in + 1), ret_out)
                                    : answer_resume(server, in + 1, ret_out);
    return fwi_get_u64le(in) ? answer_resume(server, in, ret_out)
                             : answer_new(server, fwi_get_u64le(in + 8), ret_out);
}

int fwi_snet_server_input(fwi_snet_server *server, const uint8_t *data, size_t len,
                          size_t *ret_used, fwi_snet_bytes *ret_out)
{
    int result = FWI_SNET_MORE;
    *ret_out = (fwi_snet_bytes){.len = 0};
    *ret_used = 0;
    /* A step answers at most once before more has to come. */
    while (result == FWI_SNET_MORE && !ret_out->len) {
        size_t telling = server->flavour == FWI_SNET_AUTO ? TELLING_BYTES : 1;
        size_t wanted = server->wanted ? server->wanted : telling;
        *ret_used += take_bytes(&server->in, wanted, data + *ret_used, len - *ret_used);
        if (server->in.len < wanted)
            break;
        result = step(server, ret_out);
    }
    return result;
}
