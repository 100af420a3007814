#include <assert.h>
#include <fairway/error.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/snet/handshake.h"
#include "transport/snet/wire.h"

int fwi_snet_client_start(fwi_snet_client *client, fwi_snet_flavour flavour,
                          fwi_snet_random_fn random, fwi_snet_bytes *ret_out)
{
    assert(flavour != FWI_SNET_AUTO);
    *client = (fwi_snet_client){.flavour = flavour};
    uint64_t public_key = 0;
    do { /* a key that the other side would refuse */
        int err = random(&client->private_key, sizeof client->private_key);
        if (!err)
            err = fwi_snet_public_key(client->private_key, &public_key);
        if (err)
            return err;
    } while (public_key <= 1);
    *ret_out = (fwi_snet_bytes){.len = 0};
    if (flavour == FWI_SNET_UNIWAY) {
        fwi_put_u64le(ret_out->data + 8, public_key);
        ret_out->len = UNIWAY_OPENING_BYTES;
    } else {
        ret_out->data[0] = FASTWAY_NEW;
        fwi_put_u64le(ret_out->data + 1, public_key);
        ret_out->len = FASTWAY_NEW_BYTES;
    }
    return FW_OK;
}

int fwi_snet_client_resume(fwi_snet_client *client, fwi_snet_flavour flavour,
                           const fwi_snet_stream *stream, fwi_snet_bytes *ret_out)
{
    assert(flavour != FWI_SNET_AUTO);
    *client = (fwi_snet_client){.flavour = flavour, .stream = stream};
    *ret_out = (fwi_snet_bytes){.len = 0};
    if (flavour == FWI_SNET_FASTWAY)
        ret_out->data[ret_out->len++] = FASTWAY_RESUME;
    uint8_t *fields = ret_out->data + ret_out->len;
    fwi_put_u64le(fields, stream->id);
    fwi_put_u64le(fields + 8, stream->written);
    fwi_put_u64le(fields + 16, stream->read);
    ret_out->len += RESUME_BYTES;
    return fwi_snet_proof(fields, COUNTS_BYTES, stream->key, fields + COUNTS_BYTES);
}

/* The answer of a server that makes a new session. */
static int take_new(fwi_snet_client *client, fwi_snet_bytes *ret_out)
{
    const uint8_t *in = client->in.data;
    uint8_t key[FWI_SNET_KEY_BYTES], id[8];
    int err = fwi_snet_secret(client->private_key, fwi_get_u64le(in), &client->secret);
    if (err)
        return err;
    fwi_put_u64le(key, client->secret);
    fwi_rc4 rc4;
    fwi_rc4_init(&rc4, key, sizeof key);
    fwi_rc4_apply(&rc4, in + 8, sizeof id, id);
    client->id = fwi_get_u64le(id);
    if (!client->id)
        return FW_EPROTOCOL; /* it could not be resumed: 0 asks for a new one */
    if (client->flavour == FWI_SNET_UNIWAY)
        return FW_OK;
    ret_out->len = FWI_SNET_PROOF_BYTES;
    return fwi_snet_proof(in + 16, CHALLENGE_BYTES, key, ret_out->data);
}

static int take_resumed(fwi_snet_client *client, fwi_snet_bytes *ret_out)
{
    static const uint8_t refusal[FASTWAY_ANSWER_BYTES];
    const uint8_t *in = client->in.data;
    bool is_fastway = client->flavour == FWI_SNET_FASTWAY;
    if (is_fastway && !memcmp(in, refusal, sizeof refusal))
        return FW_EREFUSED;
    client->peer_written = fwi_get_u64le(in);
    client->peer_read = fwi_get_u64le(in + 8);
    int err = fwi_snet_stream_check(client->stream, client->peer_written, client->peer_read);
    if (err || !is_fastway)
        return err;
    ret_out->len = FWI_SNET_PROOF_BYTES;
    return fwi_snet_proof(in + 16, CHALLENGE_BYTES, client->stream->key, ret_out->data);
}

int fwi_snet_client_input(fwi_snet_client *client, const uint8_t *data, size_t len,
                          size_t *ret_used, fwi_snet_bytes *ret_out)
{
    size_t wanted = client->flavour == FWI_SNET_UNIWAY ? UNIWAY_ANSWER_BYTES : FASTWAY_ANSWER_BYTES;
    *ret_out = (fwi_snet_bytes){.len = 0};
    *ret_used = client->done ? 0 : take_bytes(&client->in, wanted, data, len);
    if (client->done || client->in.len < wanted)
        return FW_OK;
    int err = client->stream ? take_resumed(client, ret_out) : take_new(client, ret_out);
    client->done = !err;
    return err;
}
