import { Progress, Stack, Text } from '@mantine/core'
import { bytes } from '../../shared/format'
import type { Agent } from './documents'

/** How much of each kind of resource is given to sessions. */
export function SlotUsage({ agent }: { agent: Agent }) {
  return (
    <Stack gap={4}>
      {agent.slots.map(({ name, used, capacity, type }) => {
        const shown = (amount: string) => (type.unit === 'BYTES' ? bytes(amount) : amount)
        return (
          <div key={name}>
            <Text size="xs" c="dimmed">
              {name} {shown(used)} / {shown(capacity)}
            </Text>
            <Progress
              value={(100 * Number(used)) / (Number(capacity) || 1)}
              size="xs"
              aria-label={`${agent.name} ${name}`}
            />
          </div>
        )
      })}
    </Stack>
  )
}
