#include "howfar.h"

extern "C" int32_t howfar_abi_version(void) { return HOWFAR_ABI_VERSION; }
