/* URLs. */
#include "fuzz.h"

#include <fairway/error.h>
#include <fairway/url.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = malloc(len + 1);
    FUZZ_CHECK(text);
    memcpy(text, data, len);
    text[len] = 0;
    fw_url url;
    if (!fw_url_init(&url, text)) {
        FUZZ_CHECK(url.scheme && *url.scheme && url.path);
        for (size_t i = 0; i < url.host_count; i++)
            FUZZ_CHECK(url.hosts[i].name && url.hosts[i].port >= 0 && url.hosts[i].port <= 65535);
        for (size_t i = 0; i < url.param_count; i++)
            FUZZ_CHECK(fw_url_get(&url, url.params[i].name));
        fw_url_fini(&url);
    }
    free(text);
    return 0;
}
