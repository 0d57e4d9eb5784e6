/** Whether what is asked for would start now. */

export type Availability = {
  slots: { name: string; limit?: string | null; used: string; largestFree: string; largestCapacity: string }[]
  sessions: { limit?: number | null; used: number }
}
/** `fits`: at once. `waits`: later. `never`: no node is so large. `overLimit`: more than one may have. */
export type Verdict = 'fits' | 'waits' | 'never' | 'overLimit'

/** What will be asked for: the image's least amounts raise what was chosen. */
export function raise(chosen: Record<string, number>, least: { name: string; amount: string }[]) {
  const wanted = { ...chosen }
  for (const { name, amount } of least) wanted[name] = Math.max(wanted[name] ?? 0, Number(amount))
  return wanted
}

export function judge(wanted: Record<string, number>, found: Availability): Verdict {
  const reached = (limit: number | string | null | undefined, amount: number) =>
    limit !== null && limit !== undefined && amount > Number(limit)
  const slots = found.slots.map((slot) => ({ ...slot, asked: wanted[slot.name] ?? 0 }))
  if (slots.some((slot) => reached(slot.limit, slot.asked))) return 'overLimit'
  if (slots.some((slot) => slot.asked > Number(slot.largestCapacity))) return 'never'
  const full =
    slots.some((slot) => slot.asked > Number(slot.largestFree)) ||
    slots.some((slot) => reached(slot.limit, Number(slot.used) + slot.asked)) ||
    reached(found.sessions.limit, found.sessions.used + 1)
  return full ? 'waits' : 'fits'
}
