import { ActionIcon, Group, Menu, Switch, Table, Text, Tooltip } from '@mantine/core'
import { IconAlertTriangle, IconDots, IconTrash } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { useMutation } from 'urql'
import { bytes } from '../../shared/format'
import { AgentStatusBadge } from './AgentStatusBadge'
import { type Agent, UPDATE } from './documents'
import { SlotUsage } from './SlotUsage'

type Props = { agent: Agent; stats: Agent['stats']; onRemove: () => void }

/** One node: what it is, how full it is, and what may be done with it. */
export function AgentRow({ agent, stats, onRemove }: Props) {
  const { t } = useTranslation()
  const [, update] = useMutation(UPDATE)
  return (
    <Table.Tr>
      <Table.Td>
        <AgentName agent={agent} />
      </Table.Td>
      <Table.Td>
        <AgentStatusBadge agent={agent} />
      </Table.Td>
      <Table.Td>
        <Text size="sm">{agent.resourceGroup.name}</Text>
      </Table.Td>
      <Table.Td miw={180}>
        <SlotUsage agent={agent} />
      </Table.Td>
      <Table.Td>
        <Text size="sm" style={{ whiteSpace: 'nowrap' }}>
          {stats ? `${Math.round(stats.cpuPercent)} % · ${bytes(stats.memoryUsed)}` : '—'}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm">{agent.kernels.totalCount}</Text>
      </Table.Td>
      <Table.Td>
        <Switch
          aria-label={`${t('agents.schedulable')}: ${agent.name}`}
          checked={agent.schedulable}
          onChange={(event) =>
            void update({ input: { id: agent.id, schedulable: event.currentTarget.checked } })
          }
        />
      </Table.Td>
      <Table.Td>
        <Menu position="bottom-end" withInitialFocusPlaceholder={false}>
          <Menu.Target>
            <ActionIcon variant="subtle" color="gray" aria-label={`${t('app.menu')}: ${agent.name}`}>
              <IconDots size={18} aria-hidden />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item color="red" leftSection={<IconTrash size={16} aria-hidden />} onClick={onRemove}>
              {t('agents.remove')}
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </Table.Td>
    </Table.Tr>
  )
}

function AgentName({ agent }: { agent: Agent }) {
  const { t } = useTranslation()
  return (
    <>
      <Group gap={6} wrap="nowrap">
        <Text fw={600} size="sm">
          {agent.name}
        </Text>
        {!agent.isolated && (
          <Tooltip label={t('agents.notIsolated')} multiline w={240}>
            <IconAlertTriangle
              size={16}
              role="img"
              color="var(--mantine-color-orange-6)"
              aria-label={t('agents.notIsolated')}
            />
          </Tooltip>
        )}
      </Group>
      <Text size="xs" c="dimmed" style={{ whiteSpace: 'nowrap' }}>
        {agent.hardware.engine || agent.runtime} · {agent.architecture}
      </Text>
    </>
  )
}
