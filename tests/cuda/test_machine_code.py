"""benchmarks/gpu/machine_code.py counts in machine code as cuobjdump writes it."""

from __future__ import annotations

from gpu.machine_code import in_flight, instructions, loops, ordering, resident

CODE = """
        /*0000*/                   S2R R2, SR_TID.X ;                    /* 0x0000000000027919 */
                                                                         /* 0x000e220000002100 */
        /*0010*/                   LDG.E.EF.128 R4, desc[UR4][R2.64] ;   /* 0x0000000402047981 */
        /*0020*/              @!P0 LDG.E.64 R8, desc[UR4][R12.64] ;      /* 0x000000040c088981 */
        /*0030*/                   FADD R20, R21, R22 ;                  /* 0x0000001615147221 */
        /*0040*/                   LDG.E.U16 R10, desc[UR4][R14.64] ;    /* 0x000000040e0a7981 */
        /*0050*/                   FADD R20, R20, R7 ;                   /* 0x0000000714147221 */
        /*0060*/                   LDG.E R11, desc[UR4][R16.64] ;        /* 0x00000004100b7981 */
        /*0070*/               @P1 BRA 0x40 ;                            /* 0x000000000000794d */
        /*0080*/                   STG.E desc[UR4][R18.64], R20 ;        /* 0x0000001412007986 */
        /*0090*/                   MEMBAR.SC.GPU ;                       /* 0x0000000000007992 */
        /*00a0*/               @P2 BRA 0x0 ;                             /* 0x000000000000794d */
        /*00b0*/                   BRA 0xb0 ;                            /* 0x000000000000794d */
"""


def test_instructions_and_the_bytes_they_load():
    code = instructions(CODE)
    assert [one.address for one in code] == list(range(0, 0xC0, 16))
    assert [one.loaded for one in code] == [0, 16, 8, 0, 2, 0, 4, 0, 0, 0, 0, 0]
    assert code[7].jump == 0x40


def test_a_load_is_in_flight_until_one_of_its_registers_is_named():
    assert in_flight(instructions(CODE)) == 16 + 8 + 2, "until the last word of the first load is added"
    assert in_flight(instructions(CODE)[3:]) == 2 + 4, "nothing that comes later waits for them"


def test_only_innermost_loops_and_none_that_jump_to_themselves():
    assert [[one.address for one in loop] for loop in loops(instructions(CODE))] == [[0x40, 0x50, 0x60, 0x70]]


def test_fences_and_atomics_of_global_and_of_shared_memory():
    """Names as ptxas writes them for sm_80 to sm_120; REDUX and REDG begin alike."""
    names = (
        *("MEMBAR.SC.GPU", "MEMBAR.ALL.GPU", "CCTL.IVALL"),
        *("ATOM.E.ADD.STRONG.GPU", "ATOMG.E.ADD.STRONG.GPU", "ATOMG.E.EXCH.STRONG.GPU"),
        *("ATOMS.ADD", "ATOMS.POPC.INC.32", "ATOMS.CAS", "ATOMS.CAST.SPIN"),
        *("RED.E.ADD.STRONG.GPU", "REDG.E.ADD.STRONG.GPU", "REDUX.SUM", "REDUX"),
    )
    text = "".join(f"        /*{16 * i:04x}*/     @P0 {name} R2, R4 ;  /* 0x0 */\n" for i, name in enumerate(names))
    code = instructions(text)
    assert len(code) == len(names)
    assert ordering(code) == {"MEMBAR": 2, "CCTL": 1, "ATOM": 3, "ATOMS": 4, "RED": 2}


def test_blocks_that_a_multiprocessor_holds():
    assert resident(256, 64, 0) == 4, "as registers allow"
    assert resident(256, 57, 0) == 4, "which are given by eights"
    assert resident(512, 32, 0) == 4, "as threads allow"
    assert resident(32, 32, 0) == 32
    assert resident(128, 32, 40 * 1024) == 5, "as shared memory allows"
