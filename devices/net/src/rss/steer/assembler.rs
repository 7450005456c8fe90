//! A small assembler for eBPF: the instructions that the steering program is made of (RFC 9669).

/// A register: r0 holds results, r1 to r5 arguments that calls destroy, r6 to r9 last, r10 is the
/// end of the stack.
#[derive(Clone, Copy)]
pub struct Reg(u8);

/// Results.
pub const R0: Reg = Reg(0);
/// First argument of a call.
pub const R1: Reg = Reg(1);
/// Second argument.
pub const R2: Reg = Reg(2);
/// Third argument.
pub const R3: Reg = Reg(3);
/// Fourth argument.
pub const R4: Reg = Reg(4);
/// Lasts over calls, as those up to r9.
pub const R6: Reg = Reg(6);
/// Lasts over calls.
pub const R7: Reg = Reg(7);
/// Lasts over calls.
pub const R8: Reg = Reg(8);
/// Lasts over calls.
pub const R9: Reg = Reg(9);
/// End of the stack, which grows downwards.
pub const STACK: Reg = Reg(10);

/// Sizes of loads.
#[derive(Clone, Copy)]
pub enum Size {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
}

/// 64-bit arithmetic.
#[derive(Clone, Copy)]
pub enum Alu {
    Add = 0x00,
    Mul = 0x20,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Xor = 0xa0,
    Move = 0xb0,
}

/// Conditions of 64-bit jumps, unsigned.
#[derive(Clone, Copy)]
pub enum If {
    Equal = 0x10,
    Greater = 0x20,
    AnyBit = 0x40,
    NotEqual = 0x50,
    Less = 0xa0,
}

const LDX_MEM: u8 = 0x61;
const ST_MEM_WORD: u8 = 0x62;
const ALU64: u8 = 0x07;
const JUMP: u8 = 0x05;
const FROM_REGISTER: u8 = 0x08;
const LOAD_64: u8 = 0x18;
const PSEUDO_MAP_VALUE: u8 = 2;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// A place in the program to jump to, bound once.
#[derive(Clone, Copy)]
pub struct Label(usize);

/// A program in the making.
#[derive(Default)]
pub struct Assembler {
    code: Vec<u64>,
    labels: Vec<usize>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label to be bound later.
    pub fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len().wrapping_sub(1))
    }

    /// The label is here.
    pub fn bind(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = self.code.len();
        }
    }

    /// `to = to op imm`.
    pub fn alu(&mut self, op: Alu, to: Reg, imm: i32) {
        self.emit(ALU64 | op as u8, to, Reg(0), 0, imm);
    }

    /// `to = to op from`.
    pub fn alu_reg(&mut self, op: Alu, to: Reg, from: Reg) {
        self.emit(ALU64 | FROM_REGISTER | op as u8, to, from, 0, 0);
    }

    /// `to` = what is at `from + offset`.
    pub fn load(&mut self, size: Size, to: Reg, from: Reg, offset: i16) {
        self.emit(LDX_MEM | size as u8, to, from, offset, 0);
    }

    /// What is at `to + offset` = `value`, 32 bits.
    pub fn store_word(&mut self, to: Reg, offset: i16, value: i32) {
        self.emit(ST_MEM_WORD, to, Reg(0), offset, value);
    }

    /// The address of byte `offset` in the only value of the array `map`.
    pub fn load_map_value(&mut self, to: Reg, map: i32, offset: i32) {
        self.emit(LOAD_64, to, Reg(PSEUDO_MAP_VALUE), 0, map);
        self.emit(0, Reg(0), Reg(0), 0, offset);
    }

    /// Goes to the label.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(JUMP, Reg(0), Reg(0), 0, 0);
    }

    /// Goes to the label if the condition holds for `reg` and `imm`.
    pub fn jump_if(&mut self, condition: If, reg: Reg, imm: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.emit(JUMP | condition as u8, reg, Reg(0), 0, imm);
    }

    /// Calls one of the kernel's helpers by its number.
    pub fn call(&mut self, helper: i32) {
        self.emit(CALL, Reg(0), Reg(0), 0, helper);
    }

    /// Ends; the result is in r0.
    pub fn exit(&mut self) {
        self.emit(EXIT, Reg(0), Reg(0), 0, 0);
    }

    /// All instructions, their jumps resolved.
    pub fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let to = self.labels.get(label.0).copied().unwrap_or(usize::MAX);
            // Programs have some hundred instructions, and the kernel's verifier refuses a jump
            // to nowhere.
            let distance = to.wrapping_sub(at).wrapping_sub(1) as u16;
            if let Some(code) = self.code.get_mut(at) {
                *code |= u64::from(distance) << 16;
            }
        }
        self.code
    }

    fn emit(&mut self, opcode: u8, to: Reg, from: Reg, offset: i16, imm: i32) {
        let registers = from.0 << 4 | to.0;
        let [o0, o1] = offset.to_le_bytes();
        let [i0, i1, i2, i3] = imm.to_le_bytes();
        self.code.push(u64::from_le_bytes([opcode, registers, o0, o1, i0, i1, i2, i3]));
    }
}
