/** Amounts, sizes and times for people. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

export function bytes(value: string | number): string {
  let size = Number(value)
  let unit = 0
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024
    unit += 1
  }
  return `${Number.isInteger(size) || size >= 100 ? Math.round(size) : size.toPrecision(3)} ${UNITS[unit]}`
}

export function amount(slot: { name: string; amount: string; type?: { unit: string } }): string {
  return slot.type?.unit === 'BYTES' || slot.name === 'mem' ? bytes(slot.amount) : slot.amount
}

export function duration(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [Math.floor(seconds) % 60, 's'],
  ]
  const first = parts.findIndex(([value]) => value > 0)
  if (first < 0) return '0s'
  return parts
    .slice(first, first + 2)
    .map(([value, unit]) => `${value}${unit}`)
    .join(' ')
}

/** In the reader's own way of writing times, where their system speaks the console's language (en-GB, not just en). */
export function moment(value: string, language: string): string {
  const locale = navigator.languages.find((one) => one.split('-')[0] === language) ?? language
  return new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(value))
}
