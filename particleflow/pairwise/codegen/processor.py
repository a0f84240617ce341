"""Compile LLVM's intermediate representation (IR) to machine code at run time.

The user's machine needs no compiler. A function takes less than 0.1 seconds to compile, so nothing
is kept on disk: no cache can be stale, broken or unwritable. Calls release the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from particleflow.memo import Turn
from particleflow.pairwise.codegen.llvm import binding, ir

# Lets one thread at a time use LLVM's global state.
_turn = Turn()
# The engines own the code, so they are kept as long as the process lives.
_engines: list[binding.ExecutionEngine] = []

Argument: TypeAlias = type[ctypes.c_int64] | type[ctypes.c_double] | type[ctypes.c_void_p]


@dataclass(frozen=True)
class Processor:
    """The processor that code is made for: LLVM's name and features, "+avx2,+fma,...".

    Two empty strings stand for any processor of this architecture.
    """

    name: str
    features: str

    @staticmethod
    @lru_cache
    def here() -> Processor:
        return Processor(binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")

    @property
    def rsqrt_estimate(self) -> tuple[str, int] | None:
        """LLVM's name and lanes of an instruction for 1 / sqrt in float32, to 11 bits."""
        return ("llvm.x86.avx.rsqrt.ps.256", 8) if self.has("avx") else None

    def lanes(self, element: str) -> int:
        """Lanes of a register: 8 float32 with AVX, else 4 (SSE2, NEON), half as many float64."""
        lanes = 8 if self.has("avx") else 4
        return lanes if element == "float32" else lanes // 2


def function_of(
    module: ir.Module,
    name: str,
    processor: Processor,
    arguments: Sequence[Argument],
    *,
    vectors: bool,
) -> Callable[..., None]:
    """The module's function `name`, which takes arguments of these ctypes and returns nothing.

    `vectors` allows LLVM to vectorise loops.
    """
    with _turn:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        target = binding.Target.from_triple(binding.get_process_triple())
        machine = target.create_target_machine(
            cpu=processor.name, features=processor.features, opt=3, jit=True
        )
        module.triple = target.triple
        code = binding.parse_assembly(str(module))
        code.verify()
        # The loops are written out already: higher levels take longer and give slower code.
        options = binding.create_pipeline_tuning_options(speed_level=1)
        options.loop_vectorization = options.slp_vectorization = vectors
        passes = binding.create_pass_builder(machine, options)
        passes.getModulePassManager().run(code, passes)
        engine = binding.create_mcjit_compiler(code, machine)
        engine.finalize_object()
        _engines.append(engine)
        return ctypes.CFUNCTYPE(None, *arguments)(engine.get_function_address(name))
