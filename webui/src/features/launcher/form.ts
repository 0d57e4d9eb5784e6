/** What is asked for, and what is remembered of it for the next time. */

import type { CreateSessionInput, EarlierSessionQuery } from '../../gql/graphql'
import { randomId } from '../../shared/ids'
import { keep, recall } from '../../shared/personal'

export const GIB = 2 ** 30
/** CPU cores and GiB of memory. */
export const SIZES = { small: [0.5, 0.5], medium: [1, 2], large: [2, 4] } as const

export type Size = keyof typeof SIZES | 'custom'
export type Variable = { key: string; name: string; value: string }
export type Form = {
  language: string
  imageId: string
  name: string
  cpu: number
  memory: number
  command: string
  batch: boolean
  /** Containers, each with these amounts. */
  containers: number
  severalNodes: boolean
  variables: Variable[]
}

const FIRST: Form = {
  language: '',
  imageId: '',
  name: '',
  cpu: SIZES.small[0],
  memory: SIZES.small[1],
  command: '',
  batch: false,
  containers: 1,
  severalNodes: false,
  variables: [],
}

/** As the server has it. */
const NAME = /^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/i

export const nameable = (name: string) => name === '' || NAME.test(name)

export function sizeOf({ cpu, memory }: Pick<Form, 'cpu' | 'memory'>): Size {
  const found = Object.entries(SIZES).find(([, size]) => size[0] === cpu && size[1] === memory)
  return (found?.[0] as Size | undefined) ?? 'custom'
}

/** The choices of the last time. Commands and variables are not kept: they may hold secrets. */
export function remembered(): Form {
  const { language, imageId, cpu, memory } = { ...FIRST, ...recall<Partial<Form>>('browser', 'launcher', {}) }
  return {
    ...FIRST,
    language,
    imageId,
    cpu: Number(cpu) || FIRST.cpu,
    memory: Number(memory) || FIRST.memory,
  }
}

export function remember({ language, cpu, memory }: Form, imageId: string) {
  keep('browser', 'launcher', { language, imageId, cpu, memory })
}

/** The form of a session that was, to launch it again. */
export function like(node: EarlierSessionQuery['node']): Partial<Form> | null {
  if (!node || !('slots' in node)) return null
  const each = (slot: { amount: string }) => Number(slot.amount) / node.clusterSize
  const amounts = Object.fromEntries(node.slots.map((slot) => [slot.name, each(slot)]))
  return {
    ...(node.image ? { language: node.image.language, imageId: node.image.id } : {}),
    cpu: amounts.cpu ?? FIRST.cpu,
    memory: (amounts.mem ?? FIRST.memory * GIB) / GIB,
    command: node.startupCommand ?? '',
    batch: node.type === 'BATCH',
    containers: node.clusterSize,
    severalNodes: node.clusterMode === 'MULTI_NODE',
    variables: node.environ.map((one) => ({ key: randomId(), ...one })),
  }
}

export function request(form: Form, place: { groupId: string; resourceGroupId: string; imageId: string }) {
  return {
    ...place,
    name: form.name || null,
    type: form.batch ? 'BATCH' : 'INTERACTIVE',
    startupCommand: form.command || null,
    clusterSize: form.containers,
    clusterMode: form.severalNodes && form.containers > 1 ? 'MULTI_NODE' : 'SINGLE_NODE',
    environ: form.variables.filter((one) => one.name).map(({ name, value }) => ({ name, value })),
    slots: [
      { name: 'cpu', amount: String(form.cpu) },
      { name: 'mem', amount: String(Math.round(form.memory * GIB)) },
    ],
  } satisfies Partial<CreateSessionInput>
}
