/* Wine 8 lacks bcryptprimitives.dll, which Rust's library gets its random numbers from. For tests; no set-up brings it along. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    return SystemFunction036(data, (ULONG)length);
}
