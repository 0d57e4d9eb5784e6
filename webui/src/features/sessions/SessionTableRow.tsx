import { ActionIcon, Checkbox, Group, Table, Text, Tooltip } from '@mantine/core'
import { IconTerminal2, IconTrash } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useTranslation } from 'react-i18next'
import { amount, bytes, duration } from '../../shared/format'
import { outcome } from '../../shared/outcome'
import { StatusBadge } from '../../shared/StatusBadge'
import { elapsed } from '../../shared/useNow'
import type { ListedSession } from './documents'
import { reasonText } from './reasons'

type Props = {
  row: ListedSession
  selected: boolean
  onSelect: (on: boolean) => void
  onEnd: () => void
  /** Whether the list is of what runs, and so shows the load. */
  running: boolean
  /** The present moment, in milliseconds. */
  now: number
}

export function SessionTableRow({ row, selected, onSelect, onEnd, running, now }: Props) {
  const { t, i18n } = useTranslation()
  const how = outcome(row)
  const why = row.pendingReason
    ? reasonText(t, row.pendingReason, i18n.language)
    : how === 'error' || how === 'failed'
      ? row.statusReason?.message
      : null
  return (
    <Table.Tr>
      <Table.Td>
        <Checkbox
          aria-label={t('sessions.select', { name: row.name })}
          checked={selected}
          onChange={(event) => onSelect(event.currentTarget.checked)}
        />
      </Table.Td>
      <Table.Td>
        <Text
          component={Link}
          to="/sessions/$id"
          params={{ id: row.id } as never}
          fw={600}
          size="sm"
          className="plain"
        >
          {row.name}
        </Text>
        <Text size="xs" c="dimmed">
          {row.user?.name} · {row.group?.name}
        </Text>
      </Table.Td>
      <Table.Td>
        <StatusBadge session={row} />
        {why && (
          <Text size="xs" c="dimmed" maw={260} lineClamp={2} mt={2}>
            {why}
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        <Text size="sm">
          {row.image?.language} {row.image?.version}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm" className="nowrap">
          {row.slots
            .map((slot) => (slot.name === 'mem' ? amount(slot) : `${amount(slot)} ${slot.name}`))
            .join(' · ')}
        </Text>
      </Table.Td>
      {running && (
        <Table.Td>
          <Text size="sm" className="nowrap">
            {row.stats ? `${Math.round(row.stats.cpuPercent)} % · ${bytes(row.stats.memoryBytes)}` : '—'}
          </Text>
        </Table.Td>
      )}
      <Table.Td>
        <Text size="sm" className="nowrap">
          {row.startedAt ? duration(elapsed(row, now)) : '—'}
        </Text>
      </Table.Td>
      <Table.Td>
        <Group gap={4} justify="flex-end" wrap="nowrap">
          {row.allowedActions.includes('openTerminal') && (
            <Tooltip label={t('sessions.terminal')}>
              <ActionIcon
                variant="subtle"
                component="a"
                href={`/sessions/${row.id}/terminal`}
                target="_blank"
                aria-label={`${t('sessions.terminal')}: ${row.name}`}
              >
                <IconTerminal2 size={18} aria-hidden />
              </ActionIcon>
            </Tooltip>
          )}
          {row.allowedActions.includes('terminateSessions') && (
            <Tooltip label={t('sessions.terminate')}>
              <ActionIcon
                variant="subtle"
                color="red"
                aria-label={`${t('sessions.terminate')}: ${row.name}`}
                onClick={onEnd}
              >
                <IconTrash size={18} aria-hidden />
              </ActionIcon>
            </Tooltip>
          )}
        </Group>
      </Table.Td>
    </Table.Tr>
  )
}
