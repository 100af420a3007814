# cmake -DINPUT=store.lua -DOUTPUT=script.c -P embed.cmake: the script as a C array, with its SHA1,
# by which Redis knows it.
file(READ ${INPUT} hex HEX)
file(SHA1 ${INPUT} sha)
string(LENGTH "${hex}" len)
math(EXPR len "${len} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n    " bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"redis.h\"

const char fwi_redis_script_sha[] = \"${sha}\";
const size_t fwi_redis_script_len = ${len};
const char fwi_redis_script[] = {
    ${bytes}0};
")
