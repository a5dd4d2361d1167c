#include "textflag.h"

// shifted is called as a function of C on the stack of the system (System V ABI for
// AMD64, 3.2): the clock's number is in DI, where the time is to be put in SI. R12 to
// R15, BX and BP stay as they are.
TEXT shifted<>(SB),NOSPLIT|NOFRAME,$0
	PUSHQ	DI
	PUSHQ	SI
	SUBQ	$8, SP // on a boundary of 16 bytes at the call
	MOVQ	·trueClock(SB), AX
	CALL	AX
	ADDQ	$8, SP
	POPQ	SI
	POPQ	DI
	CMPL	DI, $0 // CLOCK_REALTIME
	JNE	done
	MOVQ	·shift(SB), CX
	MOVQ	(CX), CX
	ADDQ	CX, 0(SI) // tv_sec
done:
	RET

// func shiftedClock() uintptr
TEXT ·shiftedClock(SB),NOSPLIT,$0-8
	LEAQ	shifted<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
