#include "gateway/codec.h"

#include <fairway/error.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <uv.h>

/* Which arguments follow the type; connection id first. */
static const struct {
    uint8_t conn, remote;
} arguments[] = {
    [FWI_GW_DIAL] = {0, 1},   [FWI_GW_ACCEPT] = {1, 1}, [FWI_GW_CONNECT] = {1, 1},
    [FWI_GW_REFUSE] = {0, 1}, [FWI_GW_CLOSE] = {1, 0},  [FWI_GW_PING] = {0, 0},
};

int fwi_gw_framer_init(fwi_framer *framer, uint32_t max_packet_bytes)
{
    if (max_packet_bytes < FWI_GW_ID_BYTES)
        return FW_EOPTION;
    fw_framing framing = {.length_bytes = FWI_GW_LENGTH_BYTES, .max_frame_bytes = max_packet_bytes};
    return fwi_framer_init(framer, &framing);
}

int fwi_gw_command_decode(const uint8_t *frame, size_t len, fwi_gw_command *ret_command)
{
    if (len <= FWI_GW_HEADER_BYTES)
        return FW_EPROTOCOL;
    uint8_t type = frame[FWI_GW_HEADER_BYTES];
    if (type > FWI_GW_PING || len < fwi_gw_command_bytes((fwi_gw_type)type))
        return FW_EPROTOCOL;
    const uint8_t *at = frame + FWI_GW_HEADER_BYTES + 1;
    fwi_gw_command command = {.type = (fwi_gw_type)type};
    if (arguments[type].conn) {
        command.conn_id = fwi_get_u32le(at);
        at += 4;
    }
    if (arguments[type].remote)
        command.remote_id = fwi_get_u32le(at);
    *ret_command = command;
    return FW_OK;
}

size_t fwi_gw_command_bytes(fwi_gw_type type)
{
    return FWI_GW_HEADER_BYTES + 1 + 4 * (size_t)(arguments[type].conn + arguments[type].remote);
}

void fwi_gw_command_encode(const fwi_gw_command *command, uint8_t *ret_frame)
{
    uint8_t *at = ret_frame + FWI_GW_HEADER_BYTES;
    fwi_put_u32le(ret_frame, (uint32_t)(fwi_gw_command_bytes(command->type) - FWI_GW_LENGTH_BYTES));
    fwi_put_u32le(ret_frame + FWI_GW_LENGTH_BYTES, 0);
    *at++ = (uint8_t)command->type;
    if (arguments[command->type].conn) {
        fwi_put_u32le(at, command->conn_id);
        at += 4;
    }
    if (arguments[command->type].remote)
        fwi_put_u32le(at, command->remote_id);
}

int fwi_gw_digest(const uint8_t challenge[FWI_GW_CHALLENGE_BYTES], const char *key,
                  uint8_t ret_digest[FWI_GW_DIGEST_BYTES])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_md5(), NULL) &&
                EVP_DigestUpdate(context, challenge, FWI_GW_CHALLENGE_BYTES) &&
                EVP_DigestUpdate(context, key, strlen(key)) &&
                EVP_DigestFinal_ex(context, ret_digest, NULL);
    EVP_MD_CTX_free(context);
    return done ? FW_OK : UV_ENOMEM;
}

int fwi_gw_hmac(const uint8_t challenge[FWI_GW_CHALLENGE_BYTES], const char *key, uint32_t id,
                uint8_t ret_digest[FWI_GW_DIGEST_BYTES])
{
    static const char label[] = "fairway gateway";
    uint8_t text[sizeof label - 1 + FWI_GW_CHALLENGE_BYTES + FWI_GW_ID_BYTES], *at = text;
    uint8_t whole[EVP_MAX_MD_SIZE];
    memcpy(at, label, sizeof label - 1);
    at += sizeof label - 1;
    memcpy(at, challenge, FWI_GW_CHALLENGE_BYTES);
    fwi_put_u32le(at + FWI_GW_CHALLENGE_BYTES, id);
    if (!HMAC(EVP_sha256(), key, (int)strlen(key), text, sizeof text, whole, NULL))
        return UV_ENOMEM;
    memcpy(ret_digest, whole, FWI_GW_DIGEST_BYTES);
    return FW_OK;
}
