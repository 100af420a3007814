/*
 * Handshakes of snet, both sides, with what a peer may send. The first byte chooses the side and
 * the flavour, the second how the rest is cut into pieces. Three sessions are there to be resumed.
 */
#include "fuzz.h"
#include "transport/snet/handshake.h"

#include <fairway/error.h>
#include <string.h>

static uint64_t next_random;

static int predictable(void *ret_bytes, size_t len)
{
    uint8_t *bytes = ret_bytes;
    for (size_t i = 0; i < len; i++) {
        next_random = next_random * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(next_random >> 56);
    }
    return 0;
}

static fwi_snet_stream sessions[3];

static const fwi_snet_stream *find(uint64_t id, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < 3; i++)
        if (sessions[i].id == id)
            return &sessions[i];
    return NULL;
}

static void make_sessions(void)
{
    uint8_t bytes[500] = {0};
    for (size_t i = 0; i < 3; i++) {
        FUZZ_CHECK(!fwi_snet_stream_init(&sessions[i], 1 + i, 0x1122334455667788u + i, true, i == 1,
                                         i == 2 ? 64 : 4096));
        FUZZ_CHECK(!fwi_snet_stream_send(&sessions[i], bytes, 100 * (i + 1), bytes));
        fwi_snet_stream_receive(&sessions[i], bytes, 10 * (i + 1));
    }
}

static void check_replay(const fwi_snet_stream *stream, uint64_t peer_read)
{
    fwi_snet_span spans[2];
    FUZZ_CHECK(peer_read <= stream->written);
    fwi_snet_stream_replay(stream, peer_read, spans);
    FUZZ_CHECK(spans[0].len + spans[1].len == stream->written - peer_read);
}

static void fuzz_server(fwi_snet_flavour flavour, const uint8_t *data, size_t len, size_t piece)
{
    fwi_snet_server_config config = {
        .flavour = flavour, .random = predictable, .find = find, .settle = find};
    fwi_snet_server server;
    fwi_snet_server_init(&server, &config);
    int result = FWI_SNET_MORE;
    while (len && result == FWI_SNET_MORE) {
        fwi_snet_bytes out;
        size_t used, given = piece < len ? piece : len;
        result = fwi_snet_server_input(&server, data, given, &used, &out);
        FUZZ_CHECK(used <= given && out.len <= sizeof out.data);
        FUZZ_CHECK(used || result != FWI_SNET_MORE);
        data += used;
        len -= used;
    }
    if (result == FWI_SNET_NEW)
        FUZZ_CHECK(server.id && !find(server.id, NULL));
    if (result == FWI_SNET_RESUMED)
        check_replay(find(server.id, NULL), server.peer_read);
}

static void fuzz_client(fwi_snet_flavour flavour, const fwi_snet_stream *stream,
                        const uint8_t *data, size_t len, size_t piece)
{
    fwi_snet_client client;
    fwi_snet_bytes out;
    int err = stream ? fwi_snet_client_resume(&client, flavour, stream, &out)
                     : fwi_snet_client_start(&client, flavour, predictable, &out);
    while (len && !err && !client.done) {
        size_t used, given = piece < len ? piece : len;
        err = fwi_snet_client_input(&client, data, given, &used, &out);
        FUZZ_CHECK(used <= given && (used || client.done || err));
        data += used;
        len -= used;
    }
    if (!err && client.done && stream)
        check_replay(stream, client.peer_read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!sessions[0].id)
        make_sessions();
    if (len < 2)
        return 0;
    next_random = data[0];
    unsigned choice = data[0];
    size_t piece = (size_t)data[1] % 50 + 1;
    fwi_snet_flavour flavour = choice / 2 % 2 ? FWI_SNET_UNIWAY : FWI_SNET_FASTWAY;
    if (choice % 2)
        fuzz_client(flavour, choice / 4 % 4 ? &sessions[choice / 4 % 4 - 1] : NULL, data + 2,
                    len - 2, piece);
    else
        fuzz_server(choice / 4 % 2 ? FWI_SNET_AUTO : flavour, data + 2, len - 2, piece);
    return 0;
}
